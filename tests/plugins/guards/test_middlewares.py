"""Middlewares that come from a plugin."""

import contextlib
from typing import Any

from attrs import define
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.plugins.guards.case import GuardTestCase
from vllmsim.errors import InferenceError, QueueFull
from vllmsim.interfaces import IDoorkeeper, IMiddleware
from vllmsim.plugins.guards.middlewares import guard_middleware


class Teapot(InferenceError):
    """No status that a response can have."""

    status = 1418


@implementer(IMiddleware)
@define(eq=False)
class Acting:
    """Does as the test says, or raises that."""

    act: Any

    def begin(self, exchange: Any) -> Any:
        """Do it."""
        if isinstance(self.act, BaseException):
            raise self.act
        return self.act

    def end(self, exchange: Any) -> None:
        """Do it again."""
        self.begin(exchange)


@implementer(IDoorkeeper)
class Doorkeeper(Acting):
    """Decides by heads."""

    def admits(self, exchange: Any) -> Any:
        """Decide."""
        return self.begin(exchange)


@define(eq=False)
class Exchange:
    """As much of one as is looked at."""

    status: int = 0


class MiddlewareTests(GuardTestCase):
    """What they do with exchanges."""

    def begin(self, act: Any) -> Any:
        """Have one see a request."""
        guarded: Any = guard_middleware(Acting(act), self.blame)
        return guarded.begin(Exchange())

    def test_interface(self) -> None:
        """It is what it guards."""
        verifyObject(IMiddleware, guard_middleware(Acting(None), self.blame))
        verifyObject(IDoorkeeper, guard_middleware(Doorkeeper(None), self.blame))
        self.assertFalse(IDoorkeeper.providedBy(guard_middleware(Acting(None), self.blame)))

    def test_passes(self) -> None:
        """What it may do goes through: nothing, to wait, to refuse, and to be cancelled."""
        self.assertIsNone(self.begin(None))
        self.assertIsNone(self.successResultOf(Deferred.fromCoroutine(self.begin(succeed(7)))))
        self.assertRaises(QueueFull, self.begin, QueueFull("x"))
        self.failureResultOf(Deferred.fromCoroutine(self.begin(fail(QueueFull("x")))), QueueFull)
        cancelled: list[object] = []
        began = Deferred.fromCoroutine(self.begin(Deferred(cancelled.append)))
        began.cancel()
        self.failureResultOf(began, CancelledError)
        self.assertEqual(1, len(cancelled))

    def test_breaks(self) -> None:
        """What it may not do is its own mistake, and the client's request is answered 500."""
        for mistake in (KeyError("x"), SystemExit(3), 7, Teapot("x")):
            error = self.assertRaises(InferenceError, self.begin, mistake)
            self.assertEqual((500, "Internal server error"), (error.status, error.message))
        for act in (fail(KeyError("x")), fail(Teapot("x"))):
            failure = self.failureResultOf(Deferred.fromCoroutine(self.begin(act)), InferenceError)
            self.assertEqual(500, failure.value.status)
        self.assertEqual(3, len(self.flushLoggedErrors()))

    def test_end(self) -> None:
        """Whatever it does at the end, nobody else hears of it."""
        for act in (None, KeyError("x"), QueueFull("x")):
            guarded: Any = guard_middleware(Acting(act), self.blame)
            exchange = Exchange()
            with contextlib.suppress(KeyError, InferenceError):
                guarded.begin(exchange)
            guarded.end(exchange)
        self.assertEqual(1, len(self.flushLoggedErrors(KeyError)))

    def test_doorkeeper(self) -> None:
        """One that breaks while it looks at a head lets that pass, and decides later."""
        for act, admitted in ((True, True), (False, False), (KeyError("x"), True), (QueueFull("x"), True)):
            keeper: Any = guard_middleware(Doorkeeper(act), self.blame)
            self.assertIs(admitted, keeper.admits(Exchange()))
        self.flushLoggedErrors(KeyError)
