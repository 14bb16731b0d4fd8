"""Questions to a render service."""

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.error import ConnectionRefusedError as TwistedRefused
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.web.client import ResponseNeverReceived
from twisted.web.server import NOT_DONE_YET, Request

from tests.downloading.fakeweb import hang_up
from tests.fakes import in_thread
from tests.tokenization.fakerender import HOST, RenderTestCase, body_of
from vllmsim.errors import InferenceError, InvalidRequest, Unavailable
from vllmsim.tokenization.render import service
from vllmsim.tokenization.render.service import NoSuchRoute, RenderService, render_client, render_service

PATH = "/x"


class AskingTests(RenderTestCase):
    """One question."""

    def answer_with(self, status: int, body: bytes, **headers: str) -> None:
        """Have the service answer so."""

        def answer(request: Request) -> bytes:
            request.setResponseCode(status)
            for name, value in headers.items():
                request.setHeader(name, value)
            return body

        self.render.web.files[HOST + PATH] = answer

    def ask(self, question: Any = None, read: Any = lambda value: value, size: int = 0) -> Deferred[Any]:
        """Ask."""
        return self.finish(self.service.ask(PATH, question or {"a": 1}, read, within=30.0, size=size))

    def refused(self, kind: type[InferenceError]) -> InferenceError:
        """Ask in vain; nothing goes on afterwards."""
        with capturedLogs() as events:
            error = self.failureResultOf(self.ask(), kind).value
        self.assertEqual([], [event for event in events if "log_failure" in event])
        self.assertEqual([], self.clock.getDelayedCalls())
        self.assertEqual(64, self.service._turn.tokens)
        assert isinstance(error, InferenceError)
        return error

    def test_answer(self) -> None:
        """JSON is posted, whole, and what comes back is read."""
        asked: list[Any] = []

        def answer(request: Request) -> bytes:
            asked.append((request.method, request.getHeader("content-type"), body_of(request)))
            return b'{"b": 2}'

        self.render.web.files[HOST + PATH] = answer
        self.assertEqual({"b": 2}, self.result(self.service.ask(PATH, {"a": "\u00e9"}, lambda v: v, within=30.0)))
        self.assertEqual([(b"POST", "application/json", '{"a":"\u00e9"}'.encode())], asked)
        self.assertEqual({"b": 2}, self.result(self.service.ask(PATH, None, lambda v: v, within=30.0)))
        self.assertEqual((b"GET", None, b""), asked[1])

    def test_long(self) -> None:
        """What is long is written and read off the reactor."""
        called: list[Any] = []

        def run(function: Any, *arguments: Any) -> Deferred[Any]:
            called.append(function.__name__)
            return in_thread(function, *arguments)

        self.service = RenderService(self.clock, render_client(self.render.web.agent), f"http://{HOST}", run)
        self.answer_with(200, b"[" + b"1," * 50_000 + b"1]")
        self.assertEqual(50_001, len(self.successResultOf(self.ask(size=100_000))))
        self.assertEqual(["_write", "_parse"], called)

    def test_bad_request(self) -> None:
        """What the service finds wrong with a request is the client's error, in the service's words."""
        self.answer_with(400, b'{"error": {"message": "too long", "type": "x", "param": "input_tokens", "code": 400}}')
        error = self.refused(InvalidRequest)
        self.assertEqual((400, "too long", "input_tokens"), (error.status, error.message, error.param))
        for body, said in (
            (b'{"object": "error", "message": "old"}', "old"),
            (b"<html>", "The render service refuses the request."),
            (b'{"error": "x"}', "The render service refuses the request."),
            (b'{"error": {"message": 1, "param": 2}}', "The render service refuses the request."),
            (b'{"message": "' + b"x" * 5000 + b'"}', "x" * 1000),
        ):
            self.answer_with(400, body)
            self.assertEqual(said, self.refused(InvalidRequest).message)

    def test_trouble(self) -> None:
        """A service in trouble is why we are; its words are for the log alone."""
        for status in (500, 502, 503, 429):
            self.answer_with(status, b'{"error": {"message": "secret"}}')
            error = self.refused(Unavailable)
            self.assertEqual((503, "The render service cannot answer now."), (error.status, error.message))

    def test_log(self) -> None:
        """The log says once that it is in trouble, in details each time, and once that it answers again."""
        levels: list[tuple[str, bool]] = []
        for status in (500, 401, 500, 200, 200, 500):
            self.answer_with(status, b"{}")
            with capturedLogs() as events:
                asked = self.ask()
            if status != 200:
                self.failureResultOf(asked, InferenceError)
            levels += [(event["log_level"].name, "again" in event["log_format"]) for event in events]
        expected = [("warn", False), ("debug", False), ("debug", False), ("info", True), ("warn", False)]
        self.assertEqual(expected, levels)

    def test_refusal(self) -> None:
        """A service that does not let us in, or sends us elsewhere, gives no usable answer."""
        for status in (401, 403, 302, 422):
            self.answer_with(status, b"{}", Location="http://elsewhere.test/")
            error = self.refused(InferenceError)
            self.assertEqual((500, "The render service gave no usable answer."), (error.status, error.message))

    def test_missing(self) -> None:
        """A route that is not there is told from an answer that is none."""
        self.refused(NoSuchRoute)

    def test_nonsense(self) -> None:
        """An answer that is no JSON, or not what it should be, is none."""

        def read(_: Any) -> Any:
            raise ValueError("it has no x")

        for body in (b"", b"{", b"<p>hello", b"\xff"):
            self.answer_with(200, body)
            self.assertEqual(500, self.refused(InferenceError).status)
        self.answer_with(200, b"{}")
        error = self.failureResultOf(self.ask(read=read), InferenceError).value
        self.assertEqual(500, error.status)

    def test_endless(self) -> None:
        """An answer that has no end is given up."""
        self.patch(service, "_MAX_ANSWER", 1000)
        self.answer_with(200, b"1" * 2000)
        self.assertEqual(503, self.refused(Unavailable).status)

    def test_broken(self) -> None:
        """A connection that breaks within the answer is trouble."""

        def answer(request: Request) -> Any:
            request.setHeader("Content-Length", "100")
            request.write(b"{")
            hang_up(request)
            return NOT_DONE_YET

        self.render.web.files[HOST + PATH] = answer
        self.assertEqual("The render service cannot be reached.", self.refused(Unavailable).message)

    def silent(self, begins: bool) -> None:
        """Have the service answer never, or never to the end."""

        def answer(request: Request) -> Any:
            if begins:
                request.write(b"{")
            return NOT_DONE_YET

        self.render.web.files[HOST + PATH] = answer

    def test_slow(self) -> None:
        """A service that takes too long, for its answer or within it, is trouble."""
        for begins in (False, True):
            self.silent(begins)
            asked = self.ask()
            self.clock.advance(29.9)
            self.assertNoResult(asked)
            self.clock.advance(0.1)
            error = self.failureResultOf(asked, Unavailable).value
            self.assertEqual("The render service did not answer in time.", str(error))
            self.assertEqual([], self.clock.getDelayedCalls())

    def test_cancelled(self) -> None:
        """A client that goes away takes its question back."""
        for begins in (False, True):
            self.silent(begins)
            asked = self.ask()
            asked.cancel()
            self.failureResultOf(asked, CancelledError)
            self.assertEqual([], self.clock.getDelayedCalls())
            self.assertEqual(64, self.service._turn.tokens)

    def test_turns(self) -> None:
        """So many questions are asked at once; others wait, and may go away or take too long while they do."""
        self.silent(begins=False)
        asked = [self.ask() for _ in range(66)]
        self.assertEqual(64, len(self.render.web.asked))
        asked[64].cancel()
        self.failureResultOf(asked[64], CancelledError)
        asked[0].cancel()
        self.failureResultOf(asked[0], CancelledError)
        self.assertEqual(65, len(self.render.web.asked))
        self.clock.advance(30)
        for each in (*asked[1:64], asked[65]):
            self.failureResultOf(each, Unavailable)
        self.assertEqual(64, self.service._turn.tokens)


class ConnectionTests(RenderTestCase):
    """Where there is no service, or not any more."""

    def service_of(self, *outcomes: Exception) -> RenderService:
        """Make a service whose first requests end so, and further ones as they should."""
        left = list(outcomes)
        agent = self.render.web.agent

        class Agent:
            def request(self, *arguments: Any) -> Deferred[Any]:
                return fail(left.pop(0)) if left else agent.request(*arguments)

        return RenderService(self.clock, render_client(Agent()), f"http://{HOST}", in_thread)  # type: ignore[arg-type]

    def test_refused(self) -> None:
        """Where nobody listens there is no answer; a client is told just that."""
        work = self.service_of(TwistedRefused("secret")).ask(PATH, {}, lambda v: v, within=30.0)
        error = self.failureResultOf(self.finish(work), Unavailable).value
        self.assertEqual((503, "The render service cannot be reached."), (error.status, str(error)))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_closed(self) -> None:
        """A connection that was closed just then is opened again, once."""
        lost = ResponseNeverReceived([Failure(ConnectionLost())])
        self.render.web.files[HOST + PATH] = lambda _: b"1"
        self.assertEqual(1, self.result(self.service_of(lost).ask(PATH, {}, lambda v: v, within=30.0)))
        work = self.service_of(lost, lost).ask(PATH, {}, lambda v: v, within=30.0)
        self.failureResultOf(self.finish(work), Unavailable)

    def test_kept(self) -> None:
        """Connections are kept a little shorter than a vLLM server does, and closed in the end."""
        service = render_service(MemoryReactorClock(), "http://h/", in_thread)
        pool: Any = service._pool
        self.assertEqual((True, 64, 4), (pool.persistent, pool.maxPersistentPerHost, pool.cachedConnectionTimeout))
        closed: list[Any] = []
        self.patch(pool, "closeCachedConnections", lambda: closed.append(1) or succeed(None))  # type: ignore[func-returns-value]
        self.successResultOf(Deferred.fromCoroutine(service.close()))
        self.successResultOf(Deferred.fromCoroutine(self.service.close()))
        self.assertEqual([1], closed)
