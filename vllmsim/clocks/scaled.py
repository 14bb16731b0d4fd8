# -*- test-case-name: tests.clocks.test_scaled -*-
"""Time that goes faster than the machine's, or slower, always by the same factor."""

from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from vllmsim.clocks.simulated import SimulatedClock


@implementer(IDelayedCall)
@define(eq=False)
class _ScaledCall:
    """A delayed call of the reactor, in seconds of the clock."""

    _clock: "ScaledClock"
    _call: IDelayedCall

    def getTime(self) -> float:
        return self._clock.time_at(self._call.getTime())

    def cancel(self) -> None:
        self._call.cancel()

    def delay(self, secondsLater: float) -> None:
        self._call.delay(secondsLater / self._clock.scale)

    def reset(self, secondsFromNow: float) -> None:
        self._call.reset(secondsFromNow / self._clock.scale)

    def active(self) -> bool:
        return self._call.active()


@implementer(IReactorTime)
@define(eq=False)
class ScaledClock(SimulatedClock):
    """A reactor's time, multiplied. It begins at 0.

    :param reactor: the machine's time.
    :param factor: how many seconds pass in one of the machine's.
    """

    reactor: IReactorTime
    _factor: float
    _begun: float = field(init=False)

    @_begun.default
    def _begin(self) -> float:
        return self.reactor.seconds()

    @property
    def scale(self) -> float:
        """How many of its seconds pass in one of the machine's."""
        return self._factor

    @property
    def work(self) -> IReactorTime:
        """The machine's time, as the machine works no faster."""
        return self.reactor

    def time_at(self, real: float) -> float:
        """Tell what time it is here at a time of the reactor's."""
        return (real - self._begun) * self._factor

    def real_at(self, time: float) -> float:
        """Tell what time it is at the reactor's at a time here."""
        return self._begun + time / self._factor

    def seconds(self) -> float:
        """Tell the time."""
        return self.time_at(self.reactor.seconds())

    def callLater(self, delay: float, callable: Callable[..., Any], *args: object, **kwargs: object) -> IDelayedCall:  # noqa: A002
        """Call a function in so many seconds of this clock."""
        return _ScaledCall(self, self.reactor.callLater(delay / self._factor, callable, *args, **kwargs))

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        """List all calls of the reactor that are to come."""
        return [_ScaledCall(self, call) for call in self.reactor.getDelayedCalls()]
