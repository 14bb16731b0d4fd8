"""How calls go through the chain."""

from collections.abc import Awaitable
from typing import Any, cast

from attrs import define
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from tests.grpc.calling import Called, CallTestCase
from tests.grpc.notes import Notes
from tests.grpc.numbers import Number, NumberCalls
from vllmsim.errors import Unavailable
from vllmsim.grpc.status import Code
from vllmsim.interfaces import IExchange, IJournal, IMiddleware
from vllmsim.web.middleware.accesslog import AccessLog
from vllmsim.web.middleware.accounts import Accounts
from vllmsim.web.middleware.apikeys import ApiKeys
from vllmsim.web.middleware.cors import Cors
from vllmsim.web.middleware.httplog import HttpLog
from vllmsim.web.middleware.masking import Masking
from vllmsim.web.middleware.ratelimits import Allowance, RateLimits
from vllmsim.web.middleware.requestids import RequestIds


@implementer(IMiddleware)
@define(eq=False)
class Answers:
    """Answers in the place of methods.

    :param waits: what it waits for before.
    """

    status: int
    body: bytes = b""
    waits: "Deferred[None] | None" = None
    ended: int = 0

    def begin(self, exchange: IExchange) -> Awaitable[object] | None:
        """Answer, or refuse if there is no status."""
        if self.waits is not None:
            return self.waits
        if not self.status:
            raise Unavailable("Not now.")
        exchange.setHeader(b"X-Who", b"me")
        exchange.answer(self.status, self.body)
        return None

    def end(self, exchange: IExchange) -> None:
        """Count."""
        self.ended += 1


class ChainTests(CallTestCase):
    """What each of its members does to calls."""

    def ask(self, *chain: Any, name: str = "Double", request: Any = None, **metadata: Any) -> Called:
        """Call a method through a chain."""
        if chain or not hasattr(self, "site"):
            self.serve(chain=chain)
            self.numbers = NumberCalls(self.clock)
            self.root.add(self.numbers)
        return self.call(f"/test.Numbers/{name}", Number, request or Number(value=1), **metadata)

    def logged(self) -> list[LogEvent]:
        """Listen to the log."""
        events: list[LogEvent] = []
        observer = cast("ILogObserver", events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        return events

    def test_api_keys(self) -> None:
        """VLLM's services want a key where there is one; what only looks, such as health, does not."""
        keys = ApiKeys([("k", "acme")])
        self.assertEqual(Code.OK, self.ask(keys).code)
        self.serve(chain=[keys])
        path = "/vllm.grpc.engine.VllmEngine/Generate"
        self.assertFailed(Code.UNAUTHENTICATED, self.call(path, Number, Number()), "Unauthorized")
        self.assertFailed(Code.UNAUTHENTICATED, self.call(path, Number, Number(), authorization="Bearer x"))
        self.assertEqual(Code.UNIMPLEMENTED, self.call(path, Number, Number(), authorization="Bearer k").code)
        self.assertFailed(Code.UNAUTHENTICATED, self.call("/vllm.Control/Shutdown", Number, Number()))

    def test_not_worth_it(self) -> None:
        """What has no chance to be let in is not inflated."""
        self.serve(chain=[ApiKeys([("k", None)])])
        called = self.call("/vllm.x/Y", Number, b"\1\0\0\0\4nope", grpc_encoding="gzip")
        self.assertFailed(Code.UNAUTHENTICATED, called)

    def test_rate_limits(self) -> None:
        """Methods for which the model works are limited, and what is left is told before the answer."""
        limits = RateLimits({None: Allowance(2, None, 60.0)}, Accounts(), self.clock_for_limits(), lambda: 0.0)
        called = self.ask(limits)
        self.assertEqual((Code.OK, "1"), (called.code, called.metadata["x-ratelimit-remaining-requests"]))
        self.assertEqual(Code.OK, self.ask().code)
        called = self.ask()
        self.assertFailed(Code.RESOURCE_EXHAUSTED, called, "Rate limit reached for requests per minute")
        self.assertEqual(
            ("0", "30"), (called.metadata["x-ratelimit-remaining-requests"], called.metadata["retry-after"])
        )
        self.assertEqual(Code.OK, self.ask(name="Given").code)

    def clock_for_limits(self) -> Any:
        """Make a clock that stands still."""
        self.serve()
        return self.clock

    def test_request_ids(self) -> None:
        """Each answer says which call it is of, whatever becomes of that."""
        self.assertEqual("mine", self.ask(RequestIds(), x_request_id="mine").metadata["x-request-id"])
        self.assertEqual(32, len(self.ask(name="Fail").metadata["x-request-id"]))

    def test_cors(self) -> None:
        """Who calls from a page is told what a page is told, but for what concerns caches."""
        called = self.ask(Cors(("*",)), origin="http://page.test")
        self.assertEqual((Code.OK, "*"), (called.code, called.metadata["access-control-allow-origin"]))
        self.assertNotIn("vary", called.metadata)

    def test_access_log(self) -> None:
        """The access log has a line for each call, with its status if that is not well."""
        events = self.logged()
        clock = self.clock_for_limits()
        self.ask(AccessLog(clock))
        self.ask(name="Fail")
        self.ask(name="Missing")
        self.ask(name="Double", content_type="application/grpc+json")
        self.ask(name="Later").stream.cancel()
        lines = [formatEvent(event) for event in events if event["log_namespace"].endswith("AccessLog")]
        self.assertEqual(
            [
                '192.168.1.1:54321 - "POST /test.Numbers/Double HTTP/2" 200 OK',
                '192.168.1.1:54321 - "POST /test.Numbers/Fail HTTP/2" 200 OK, RESOURCE_EXHAUSTED',
                '192.168.1.1:54321 - "POST /test.Numbers/Missing HTTP/2" 200 OK, UNIMPLEMENTED',
                '192.168.1.1:54321 - "POST /test.Numbers/Double HTTP/2" 415 Unsupported Media Type',
                '192.168.1.1:54321 - "POST /test.Numbers/Later HTTP/2" - client has left',
            ],
            lines,
        )

    def test_http_log(self) -> None:
        """The log of whole exchanges says how a call went, and shows no bytes of messages as text."""
        events = self.logged()
        self.ask(HttpLog(self.clock_for_limits(), 0, Masking([], ())), request=Number(value=-1))
        asked, answered = [event for event in events if event["log_namespace"].endswith("HttpLog")]
        self.assertIn("that are no text", asked["body"])
        self.assertIn("200, OK, to POST /test.Numbers/Double", answered["summary"])
        self.assertEqual((200, "OK", 16), (answered["status"], answered["verdict"], answered["body_bytes"]))

    def test_answered(self) -> None:
        """A middleware that answers as it would over HTTP ends the call with the status that goes with that."""
        for status, body, code, text in (
            (403, b'{"error": {"message": "Not you."}}', Code.PERMISSION_DENIED, "Not you."),
            (429, b"Slow down.", Code.RESOURCE_EXHAUSTED, "Slow down."),
            (200, b"{}", Code.UNKNOWN, "HTTP status 200"),
        ):
            middleware, innermost = Answers(status, body), Answers(500)
            called = self.ask(middleware, innermost)
            self.assertFailed(code, called, text)
            self.assertEqual(("me", []), (called.metadata["x-who"], self.numbers.heard))
            self.assertEqual((1, 0), (middleware.ended, innermost.ended))

    def test_answered_remembered(self) -> None:
        """The journal knows of calls that a middleware has answered."""
        notes = Notes()
        self.serve(chain=[Answers(403, b"Not you.")], journal=cast("IJournal", notes))
        self.root.add(NumberCalls(self.clock))
        self.ask()
        (record,) = notes.ended
        self.assertEqual(("/test.Numbers/Double", "invalid", "Not you."), (
            record.route, record.outcome, record.error_message))  # fmt: skip

    def test_refused(self) -> None:
        """One that refuses has its words told."""
        self.assertFailed(Code.UNAVAILABLE, self.ask(Answers(0)), "Not now.")

    def test_waiting(self) -> None:
        """One may take its time, and does not take more than the client has."""
        waits: Deferred[None] = Deferred()
        called = self.ask(Answers(0, waits=waits))
        self.assertIsNone(called.code)
        waits.callback(None)
        called.stream.client.pump()
        self.assertEqual(Code.OK, called.code)
        called = self.ask(middleware := Answers(0, waits=Deferred()), grpc_timeout="1S")
        self.clock.advance(1)
        called.stream.client.pump()
        self.assertFailed(Code.DEADLINE_EXCEEDED, called)
        self.assertEqual((1, []), (middleware.ended, self.numbers.heard))
