"""How a server is asked."""

import json
from typing import Any

from attrs import define, field
from treq.client import HTTPClient
from treq.testing import RequestTraversalAgent, _SynchronousProducer
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IResponse
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from vllmsim.inference import Conversation, Message, TextPrompt, Tokens
from vllmsim.scripts.dataset.dialogues import Exchange
from vllmsim.scripts.dataset.events import Recording
from vllmsim.scripts.dataset.faults import BadItem, BuildError
from vllmsim.scripts.dataset.server import Server

MESSAGES = [{"role": "user", "content": "q"}]
CHAT = Exchange(Conversation((Message("user", "q"),)), {"messages": MESSAGES}, None)
COMPLETION = Exchange(TextPrompt("q"), {"prompt": "q"}, None)
GOOD = (
    b'data: {"choices": [{"index": 0, "delta": {"content": ""}}], "prompt_token_ids": [1, 2]}\n\n'
    b'data: {"choices": [{"index": 0, "delta": {"content": "a"}, "token_ids": [5], "finish_reason": "length"}]}\n\n'
    b"data: [DONE]\n\n"
)
HANGING = -1


@define(eq=False)
class Script(Resource):
    """Answers each request with the next of some statuses and bodies."""

    answers: list[tuple[int, bytes]]
    headers: dict[str, str] = field(factory=dict)
    seen: list[tuple[str, str, Any, str | None]] = field(init=False, factory=list)
    isLeaf = True

    def __attrs_post_init__(self) -> None:
        Resource.__init__(self)

    def render(self, request: Request) -> Any:
        """Answer."""
        assert request.content is not None
        data = request.content.read()
        body = json.loads(data) if data else None
        self.seen.append((request.method.decode(), request.path.decode(), body, request.getHeader("authorization")))
        status, content = self.answers.pop(0)
        if status == HANGING:
            request.write(content)
            return NOT_DONE_YET
        request.setResponseCode(status)
        for name, value in self.headers.items():
            request.setHeader(name, value)
        return content


@implementer(IAgent)
class Nobody:
    """Refuses every connection."""

    def request(self, *_arguments: Any, **_more: Any) -> Deferred[IResponse]:
        """Refuse."""
        return fail(Refused())


class ServerTests(SynchronousTestCase):
    """Requests, and what becomes of them."""

    def make(self, *answers: tuple[int, bytes], retries: int = 2, model: str = "m", wait: str = "") -> None:
        """Make a server that answers so, and what asks it."""
        self.clock = Clock()
        self.script = Script([*answers], {"Retry-After": wait} if wait else {})
        self.agent = RequestTraversalAgent(self.script)
        own = Headers({"Authorization": ["Bearer k"]})
        self.server = Server(
            HTTPClient(self.agent, data_to_body_producer=_SynchronousProducer),
            self.clock,
            "http://h:1/x",
            own,
            7,
            60.0,
            retries,
            model,
        )

    def ask(self, exchange: Exchange = CHAT) -> Deferred[Recording]:
        """Have a prompt answered, as far as that goes without time."""
        done = Deferred.fromCoroutine(self.server.ask(exchange))
        self.agent.flush()
        return done

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)
        self.agent.flush()

    def test_asked(self) -> None:
        """Prompts go where they belong, with what the answer must tell, and the answer's tokens come back."""
        self.make((200, GOOD), (200, GOOD))
        self.assertEqual(Tokens((5,), ("a",)), self.successResultOf(self.ask()).tokens)
        self.successResultOf(self.ask(COMPLETION))
        wish = {
            "model": "m",
            "max_tokens": 7,
            "stream": True,
            "stream_interval": 1,
            "return_token_ids": True,
            "return_prompt_text": True,
        }
        expected = [
            ("POST", "/x/v1/chat/completions", wish | {"messages": MESSAGES}, "Bearer k"),
            ("POST", "/x/v1/completions", wish | {"prompt": "q"}, "Bearer k"),
        ]
        self.assertEqual(expected, self.script.seen)

    def test_model(self) -> None:
        """The model is the server's first, unless one is named."""
        self.make((200, b'{"data": [{"id": "m1"}, {"id": "m2"}]}'), model="")
        done = Deferred.fromCoroutine(self.server.prepare())
        self.agent.flush()
        self.successResultOf(done)
        self.assertEqual(("m1", "/x/v1/models"), (self.server.model, self.script.seen[0][1]))
        self.make()
        self.successResultOf(Deferred.fromCoroutine(self.server.prepare()))
        self.assertEqual([], self.script.seen)
        for answer in ((200, b'{"data": []}'), (200, b"<html>"), (400, b"no")):
            self.make(answer, model="")
            done = Deferred.fromCoroutine(self.server.prepare())
            self.agent.flush()
            self.assertIn("--model names one", str(self.failureResultOf(done, BuildError).value))

    def test_again(self) -> None:
        """What may pass is tried again after a while, each time a longer one."""
        self.make((503, b"busy"), (200, GOOD[:50]), (200, GOOD))
        done = self.ask()
        self.assertEqual(1, len(self.script.seen))
        self.wait(0.5)
        self.assertEqual(2, len(self.script.seen))
        self.wait(0.9)
        self.assertEqual(2, len(self.script.seen))
        self.wait(0.1)
        self.successResultOf(done)
        self.assertEqual(2, self.server.retried)

    def test_given_up(self) -> None:
        """A prompt that is never answered is bad, with the last reason."""
        self.make((500, b"oops"), (500, b'{"error": {"message": "it broke"}}'), retries=1)
        done = self.ask()
        self.wait(0.5)
        reason = self.failureResultOf(done, BadItem).value.reason
        self.assertEqual("the server answers with status 500: it broke", reason)

    def test_retry_after(self) -> None:
        """A server that says when to come again is obeyed, within bounds."""
        self.make((429, b"{}"), (200, GOOD), wait="20")
        done = self.ask()
        self.wait(19)
        self.assertNoResult(done)
        self.wait(1)
        self.successResultOf(done)
        self.make((429, b"{}"), (200, GOOD), wait="9999")
        done = self.ask()
        self.wait(30)
        self.successResultOf(done)

    def test_refused(self) -> None:
        """A prompt that is refused is bad, and what is true of all prompts ends everything; neither is tried again."""
        self.make((400, b'{"error": {"message": "too long"}}'), (400, b'{"error": "x"}'), (422, b""), (302, b"to"))
        for message in ("400: too long", "400: x", "422: no reason is given", "302: to"):
            reason = self.failureResultOf(self.ask(), BadItem).value.reason
            self.assertEqual(f"the server answers with status {message}", reason)
        self.make((401, b'{"error": "who?"}'), (404, b"<html>\n"))
        for message in ("401: who?", "404: <html>"):
            error = self.failureResultOf(self.ask(), BuildError).value
            self.assertEqual(f"the server answers with status {message}", str(error))

    def test_nobody(self) -> None:
        """Where nobody listens there is nothing to record."""
        self.make(retries=1)
        server = Server(
            HTTPClient(Nobody(), data_to_body_producer=_SynchronousProducer),
            self.clock,
            "http://h:1",
            Headers(),
            7,
            60.0,
            1,
            "m",
        )
        done = Deferred.fromCoroutine(server.ask(CHAT))
        self.clock.advance(0.5)
        error = self.failureResultOf(done, BuildError).value
        self.assertEqual("the server at http://h:1 cannot be reached: Connection was refused by other side", str(error))

    def test_slow(self) -> None:
        """An answer that takes too long is given up, and its connection closed."""
        self.make((HANGING, GOOD[:50]), retries=0)
        done = self.ask()
        self.wait(59)
        self.assertNoResult(done)
        self.wait(1)
        reason = self.failureResultOf(done, BadItem).value.reason
        self.assertEqual("there is no whole answer after 60 s", reason)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_cancelled(self) -> None:
        """Who gives up waits no longer, neither for an answer nor for another try."""
        for answer in ((HANGING, b"x"), (503, b"")):
            self.make(answer)
            done = self.ask()
            done.cancel()
            self.failureResultOf(done, CancelledError)
            self.assertEqual([], self.clock.getDelayedCalls())

    def test_broken(self) -> None:
        """A stream that goes wrong is not read to its end."""
        self.make((HANGING, b"data: x\n\n"), retries=0)
        reason = self.failureResultOf(self.ask(), BadItem).value.reason
        self.assertEqual("the server sent b'x', which is no chunk of an answer", reason)
