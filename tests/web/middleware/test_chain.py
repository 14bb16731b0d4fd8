"""The chain in front of the routes."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from attrs import define, field
from twisted.internet.address import IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.fakes import RecordingMetrics, Routeless
from tests.harness import Exchange, RankTestCase
from vllmsim.errors import QueueFull
from vllmsim.interfaces import IDoorkeeper, IExchange, IMiddleware
from vllmsim.web.middleware.chain import Chain
from vllmsim.web.request import Request
from vllmsim.web.site import Limits, Site

LIMITS = Limits(head_bytes=2000, headers=20, body_bytes=100, keep_alive=5)


@implementer(IMiddleware)
@define(eq=False)
class Member:
    """Notes what it sees, and does what the test wants."""

    name: str
    notes: list[str]
    act: Callable[[Any], Awaitable[object] | None] = lambda _: None
    leave: Callable[[Any], None] = lambda _: None
    seen: list[IExchange] = field(factory=list)

    def begin(self, exchange: IExchange) -> Awaitable[object] | None:
        """See a request."""
        self.notes.append(f"{self.name} begins")
        self.seen.append(exchange)
        return self.act(exchange)

    def end(self, exchange: IExchange) -> None:
        """See its end."""
        self.notes.append(f"{self.name} ends {exchange.status}")
        self.leave(exchange)


class Library(Routeless):
    """Answers with bodies, or waits."""

    def __init__(self, notes: list[str]) -> None:
        super().__init__()
        self.notes = notes
        self.waiting: Deferred[None] = Deferred()

    def render(self, request: Request) -> Any:
        """Answer."""
        self.notes.append("route")
        if request.path == b"/wait":
            return self.waiting
        request.answer(200, request.content.read(), b"text/plain")
        request.finish()
        return NOT_DONE_YET


class ChainTests(SynchronousTestCase):
    """Who sees what, and when."""

    def setUp(self) -> None:
        """Serve with no members yet."""
        self.clock, self.metrics, self.notes = Clock(), RecordingMetrics(), list[str]()
        self.library = Library(self.notes)

    def serve(self, **acts: Callable[[Any], Any]) -> dict[str, Member]:
        """Serve with members that do something each."""
        members = {name: Member(name, self.notes, act) for name, act in acts.items()}
        self.site = Site(self.library, self.clock, self.metrics, LIMITS, chain=Chain(members.values()))
        return members

    def send(self, path: str = "/", body: bytes = b"text") -> Exchange:
        """Send a request."""
        return Exchange(self.site).send("POST", path, body, Host="x")

    def test_order(self) -> None:
        """The outermost sees a request first and its end last."""
        self.serve(a=lambda _: None, b=lambda _: None)
        self.assertEqual(b"text", self.send().body)
        self.assertEqual(["a begins", "b begins", "route", "b ends 200", "a ends 200"], self.notes)

    def test_provides(self) -> None:
        """What members see is what they are promised."""
        [member] = self.serve(a=lambda _: None).values()
        self.send("/x?y=1")
        [exchange] = member.seen
        verifyObject(IExchange, exchange)
        self.assertEqual(
            (b"POST", b"/x?y=1", b"/x", "x", "none"),
            (exchange.method, exchange.uri, exchange.path, exchange.header("HOST"), exchange.route),
        )
        self.assertEqual("192.168.1.1:54321", exchange.peer)
        for address, peer in (
            (IPv6Address("TCP", "::1", 80), "::1:80"),
            (IPv6Address("TCP", "::ffff:10.0.0.1", 80), "10.0.0.1:80"),
            (UNIXAddress(None), "unix"),
        ):
            self.patch(vars(exchange)["_connection"], "getPeer", partial(lambda address: address, address))
            self.assertEqual(peer, exchange.peer)

    def test_answer(self) -> None:
        """One that answers is the last to see a request, and metrics count it not, as no route saw it."""
        self.serve(a=lambda _: None, b=lambda exchange: exchange.answer(418, b"{}"), c=lambda _: None)
        exchange = self.send()
        self.assertEqual((418, b"{}", "application/json"), (
            exchange.status, exchange.body, exchange.headers["content-type"]))  # fmt: skip
        self.assertEqual(["a begins", "b begins", "b ends 418", "a ends 418"], self.notes)
        self.assertEqual([], self.metrics.heard)
        exchange.transport.clear()
        self.assertEqual(418, exchange.send("GET", "/").status)

    def test_refusal(self) -> None:
        """One that raises an error for clients has them told so."""

        def refuse(_: Any) -> None:
            raise QueueFull("Not now.")

        self.serve(a=lambda exchange: exchange.setHeader(b"X-A", b"1"), b=refuse, c=lambda _: None)
        exchange = self.send()
        self.assertEqual((429, "1"), (exchange.status, exchange.headers["x-a"]))
        self.assertEqual("Not now.", exchange.json()["error"]["message"])
        self.assertEqual(["a begins", "b begins", "b ends 429", "a ends 429"], self.notes)

    def test_broken(self) -> None:
        """One that breaks has clients told no more than that, and the log more; everyone sees the end."""

        def broken(_: Any) -> None:
            raise RuntimeError("broken")

        members = self.serve(a=lambda _: None, b=broken)
        members["b"].leave = broken
        exchange = self.send()
        self.assertEqual((500, "Internal server error"), (exchange.status, exchange.json()["error"]["message"]))
        self.assertEqual(["a begins", "b begins", "b ends 500", "a ends 500"], self.notes)
        self.assertEqual(2, len(self.flushLoggedErrors(RuntimeError)))

    def test_waiting(self) -> None:
        """What one waits for, the others and the route wait for too; so do requests behind it on the connection."""
        first: Deferred[None] = Deferred()
        second: Deferred[None] = Deferred()

        async def wait() -> None:
            await second

        self.serve(a=lambda _: first, b=lambda _: wait(), c=lambda _: succeed(None))
        exchange = self.send()
        exchange.send("POST", "/", b"more")
        self.assertEqual(["a begins"], self.notes)
        first.callback(None)
        self.assertEqual(["a begins", "b begins"], self.notes)
        second.callback(None)
        self.assertEqual(2, self.notes.count("route"))
        self.assertEqual(["a begins", "b begins", "c begins", "route", "c ends 200", "b ends 200", "a ends 200"],
                         self.notes[:7])  # fmt: skip
        self.assertIn(b"more", exchange.raw)

    def test_refused_later(self) -> None:
        """What is waited for may fail as well, and may answer."""
        for act, status in ((lambda _: fail(QueueFull("Later.")), 429), (lambda _: fail(KeyError()), 500)):
            self.notes.clear()
            self.serve(a=act, b=lambda _: None)
            self.assertEqual(status, self.send().status)
            self.assertEqual(["a begins", f"a ends {status}"], self.notes)
        self.assertEqual(1, len(self.flushLoggedErrors(KeyError)))
        done: Deferred[None] = Deferred()
        members = self.serve(a=lambda _: done, b=lambda _: None)
        exchange = self.send()
        members["a"].seen[0].answer(403, b"")
        done.callback(None)
        self.assertEqual((403, True), (exchange.status, exchange.complete))
        self.assertNotIn("b begins", self.notes)

    def test_client_leaves(self) -> None:
        """When the client leaves, what is waited for is cancelled, and nobody further in hears of it."""
        cancelled: list[object] = []
        for canceller in (cancelled.append, lambda deferred: deferred.callback(None)):
            self.notes.clear()
            waiting: Deferred[None] = Deferred(canceller)
            self.serve(a=lambda _: None, b=partial(_given, waiting), c=lambda _: None)
            self.send().drop()
            self.assertEqual(["a begins", "b begins", "b ends 0", "a ends 0"], self.notes)
        self.assertEqual(1, len(cancelled))

    def test_client_leaves_route(self) -> None:
        """When it leaves while its route works, everyone sees the end, once."""
        self.serve(a=lambda _: None)
        exchange = self.send("/wait")
        self.assertEqual(["a begins", "route"], self.notes)
        exchange.drop()
        self.assertEqual(["a begins", "route", "a ends 0"], self.notes)

    def test_hang_up(self) -> None:
        """One that closes the connection has no route answer."""
        self.serve(a=lambda exchange: exchange.hang_up(), b=lambda _: None)
        self.send()
        self.clock.advance(0)
        self.assertEqual(["a begins", "a ends 0"], self.notes)

    def test_swapped(self) -> None:
        """A request keeps the chain that it began with."""
        self.serve(a=lambda _: None)
        exchange = self.send("/wait")
        self.site.chain = Chain([Member("b", self.notes)])
        self.library.waiting.callback(None)
        self.assertEqual(["a begins", "route", "a ends 0"], self.notes)
        exchange.drop()
        self.send()
        self.assertEqual(["b begins", "route", "b ends 200"], self.notes[3:])

    def test_too_large(self) -> None:
        """A body above the limit is refused behind the chain: who may not ask is not told of limits."""
        self.serve(a=lambda exchange: exchange.answer(401, b"") if exchange.path == b"/no" else None)
        for path, status in (("/no", 401), ("/", 413)):
            exchange = Exchange(self.site).send("POST", path, None, Content_Length="101", Expect="100-continue")
            self.assertEqual((status, True), (exchange.status, exchange.complete))
            self.assertTrue(exchange.transport.disconnecting)


class RankChainTests(RankTestCase):
    """The chain of a rank."""

    def put(self, act: Callable[[Any], Any]) -> None:
        """Have the rank's chain be one member."""
        self.rank.site.chain = Chain([Member("a", [], act)])

    def test_dialect(self) -> None:
        """Whoever refuses a request, its client is told in the words of its endpoint."""
        self.make_rank()

        def refuse(_: Any) -> None:
            raise QueueFull("Not now.")

        for act in (refuse, lambda _: fail(QueueFull("Not now."))):
            self.put(act)
            answer = self.post("/v1/messages", {}).json()
            self.assertEqual({"type": "error", "error": {"type": "rate_limit_error", "message": "Not now."}}, answer)
            for path in ("/v1/completions", "/v1/embeddings", "/nope"):
                self.assertEqual("RateLimitError", self.post(path, {}).json()["error"]["type"])
            self.put(lambda _: fail(KeyError()))
            self.assertEqual("api_error", self.post("/v1/messages", {}).json()["error"]["type"])
        self.assertEqual(2, len(self.flushLoggedErrors(KeyError)))

    def test_too_large(self) -> None:
        """A body that is much too large is refused in the words of its endpoint too."""
        self.make_rank("--max-request-body-size-mb", "1")
        for path, kind in (("/v1/messages", "request_too_large"), ("/v1/completions", "Request Entity Too Large")):
            for length, expect in ((1 << 21, "100-continue"), ((1 << 20) + 1, "")):
                exchange = self.connect().send("POST", path, None, Content_Length=str(length), Expect=expect)
                if not expect:
                    exchange.send_bytes(b"x" * length)
                self.assertEqual((413, kind), (exchange.status, exchange.json()["error"]["type"]))

    def test_fickle(self) -> None:
        """Whose body was not asked for, and who then is let in, is told to try again, and nothing of sizes."""

        @implementer(IDoorkeeper)
        class Fickle(Member):
            def admits(self, exchange: IExchange) -> bool:
                return False

        self.make_rank()
        self.rank.site.chain = Chain([Fickle("a", [])])
        ask = {"Content_Length": "9", "Expect": "100-continue", "Content_Type": "application/json"}
        exchange = self.connect().send("POST", "/v1/completions", None, **ask)
        self.assertEqual((503, True), (exchange.status, exchange.transport.disconnecting))
        self.assertIn("Please try again", exchange.json()["error"]["message"])

    def test_journal(self) -> None:
        """The journal remembers requests that are turned away, as far as it would remember them otherwise."""
        self.make_rank()

        def refuse(_: Any) -> None:
            raise QueueFull("Not now.")

        self.put(refuse)
        self.complete()
        self.put(lambda exchange: exchange.answer(403, b""))
        self.complete()
        self.put(lambda exchange: exchange.answer(200, b""))
        self.complete()
        self.get("/health")
        self.put(lambda _: None)
        told = [(each["status"], each["outcome"]) for each in self.get("/admin/requests").json()["requests"]]
        self.assertEqual([(429, "refused"), (403, "invalid"), (200, "completed")], told)

    def test_no_journal(self) -> None:
        """Where nothing is remembered they are turned away all the same, and so is a large body of any method."""
        self.make_rank("--journal-size", "0", "--max-request-body-size-mb", "1")
        self.put(lambda exchange: exchange.answer(403, b""))
        self.assertEqual(403, self.complete().status)
        self.put(lambda _: None)
        ask = {"Content_Length": str(1 << 21), "Expect": "100-continue"}
        self.assertEqual(413, self.connect().send("PUT", "/v1/completions", None, **ask).status)

    def test_background(self) -> None:
        """A response in the background is made where nothing is remembered, and nobody counts what it uses."""
        self.make_rank("--journal-size", "0", "--enable-responses-store")
        answer = self.post("/v1/responses", {"input": "a", "background": True, "max_output_tokens": 2}).json()
        self.clock.pump([0, 0])
        self.assertEqual("incomplete", self.get(f"/v1/responses/{answer['id']}").json()["status"])


def _given(waiting: Deferred[None], _: object) -> Deferred[None]:
    return waiting
