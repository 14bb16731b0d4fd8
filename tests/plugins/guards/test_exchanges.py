"""What middlewares of plugins see of exchanges, and may do with them."""

from collections.abc import Callable
from functools import partial
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.harness import Exchange, RankTestCase
from vllmsim.interfaces import IExchange, IMiddleware
from vllmsim.plugins.guards.blame import Blame
from vllmsim.plugins.guards.exchanges import GuardedExchange
from vllmsim.plugins.guards.middlewares import guard_middleware
from vllmsim.web.middleware.chain import Chain

HI = {"prompt": "hello", "max_tokens": 1}


def nothing(exchange: Any) -> None:
    """Do nothing."""


@implementer(IMiddleware)
@define(eq=False)
class Meddler:
    """Does with exchanges what a test says."""

    first: Callable[[Any], Any] = nothing
    last: Callable[[Any], Any] = nothing
    seen: list[Any] = field(factory=list)

    def begin(self, exchange: IExchange) -> Any:
        """Do the first of it."""
        self.seen.append(exchange)
        return self.first(exchange)

    def end(self, exchange: IExchange) -> None:
        """Do the last of it."""
        self.seen.append(exchange)
        self.last(exchange)


class GuardedExchangeTests(RankTestCase):
    """One middleware of a plugin's, and a whole rank."""

    def ask(self, first: Callable[[Any], Any] = nothing, last: Callable[[Any], Any] = nothing) -> Exchange:
        """Send a request, which the middleware sees."""
        self.make_rank()
        self.meddler = Meddler(first, last)
        chain = self.rank.site.chain
        self.rank.site.chain = Chain([guard_middleware(self.meddler, Blame("middleware", "mine")), *chain.members])
        exchange = self.post("/v1/completions", HI)
        self.clock.advance(0)
        self.clock.advance(1)
        return exchange

    def give(self, answer: tuple[Any, ...], exchange: Any) -> None:
        """Answer."""
        exchange.answer(*answer)

    def own(self, tenant: Any, exchange: Any) -> None:
        """Say whose a request is."""
        exchange.tenant = tenant

    def whole(self, exchange: Exchange) -> bytes:
        """Have what came, if no more and no less came than the head says."""
        self.assertTrue(exchange.complete, exchange.raw)
        return exchange.body

    def test_interface(self) -> None:
        """It sees all that there is, and the same object at the end."""
        self.assertEqual(200, self.ask(lambda exchange: verifyObject(IExchange, exchange) and None).status)
        first, last = self.meddler.seen
        self.assertIs(first, last)
        self.assertIsInstance(first, GuardedExchange)
        self.assertEqual(
            (b"POST", "/v1/completions", True, 200), (first.method, first.route, first.inference, first.status)
        )
        self.assertFalse(hasattr(first, "finish"))

    def test_answers(self) -> None:
        """It may answer, and say whose a request is."""

        def answer(exchange: Any) -> None:
            exchange.tenant = "acme"
            exchange.setHeader(b"X-Mine", exchange.header("host").encode())
            exchange.answer(201, exchange.tenant.encode(), None)

        exchange = self.ask(answer)
        self.assertEqual(
            (201, b"acme", "example.test"), (exchange.status, self.whole(exchange), exchange.headers["x-mine"])
        )

    def test_second_answer(self) -> None:
        """Who answers twice, or raises behind an answer, leaves the first one whole."""

        def twice(exchange: Any) -> None:
            exchange.answer(201, b"{}")
            exchange.answer(202, b"[]")

        def later(exchange: Any) -> Any:
            async def act() -> None:
                twice(exchange)

            return act()

        for act in (twice, later):
            exchange = self.ask(act)
            self.assertEqual((201, b"{}"), (exchange.status, self.whole(exchange)))
            self.assertFalse(exchange.transport.disconnecting)

    def test_late_answer(self) -> None:
        """Who answers when it is a route's turn, or at the end, changes nothing."""
        exchange = self.ask(last=lambda exchange: exchange.answer(500, b"late"))
        self.assertEqual(200, exchange.status)
        self.assertNotIn(b"late", self.whole(exchange))

        def begin(exchange: Any) -> None:
            self.clock.callLater(0, lambda: self.assertRaises(ValueError, exchange.answer, 500, b"late"))

        self.assertEqual(200, self.ask(begin).status)

    def test_impossible_answer(self) -> None:
        """An answer that cannot be is the plugin's mistake, and nothing of it is sent."""
        for answer in ((100, b""), (99999, b""), ("200", b""), (200, "text"), (200, b"", "text/plain")):
            exchange = self.ask(partial(self.give, answer))
            self.assertEqual((500, True), (exchange.status, b"Internal server error" in self.whole(exchange)), answer)

    def test_impossible_tenant(self) -> None:
        """So is a name that no tenant can have."""
        for name in ("two\nlines", "x" * 65, 7):
            self.assertEqual(500, self.ask(partial(self.own, name)).status)

    def test_used(self) -> None:
        """Who breaks when it is told what was used keeps nobody waiting."""
        told: list[int] = []

        def ask(exchange: Any) -> None:
            exchange.when_used(lambda used: used // 0)
            exchange.when_used(told.append)

        exchange = self.ask(ask)
        self.assertEqual((200, [2]), (exchange.status, told))
        self.assertEqual(200, exchange.send("GET", "/health").status)
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_waits(self) -> None:
        """One that has a request wait may answer when it has waited."""
        waiting: Deferred[None] = Deferred()

        def begin(exchange: Any) -> Any:
            async def act() -> None:
                await waiting
                exchange.answer(299, b"later")

            return act()

        exchange = self.ask(begin)
        self.assertEqual(0, exchange.status)
        waiting.callback(None)
        self.assertEqual((299, b"later"), (exchange.status, self.whole(exchange)))
