# -*- test-case-name: tests.web.test_deadlines -*-
"""One patience for many: who is waited for equally long, watched with one timer."""

from collections.abc import Callable
from math import inf
from typing import Final, Generic, TypeVar

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime

T = TypeVar("T")
HEADWAY: Final = 16_384
"""How many bytes of a body have a client waited for anew. Those who send fewer in all their time are not worth it."""


@define(eq=False)
class Deadlines(Generic[T]):
    """Calls for everyone whose time is over. To begin and to end waiting costs no timer but the first.

    :param seconds: how long each is waited for; it may be infinite.
    :param expired: hears who has been waited for in vain; that one is waited for no more.
    """

    _clock: IReactorTime
    _seconds: float
    _expired: Callable[[T], None]
    _due: dict[T, float] = field(init=False, factory=dict)
    """In the order of the deadlines, as each begins with the latest."""
    _call: IDelayedCall | None = field(init=False, default=None)

    def start(self, who: T) -> None:
        """Wait for someone from now on, whether that one is waited for or not."""
        self._due.pop(who, None)
        self._due[who] = self._clock.seconds() + self._seconds
        if self._call is None and self._seconds < inf:
            self._call = self._clock.callLater(self._seconds, self._ring)

    def keep(self, who: T) -> None:
        """Wait for someone as before, or from now on if that one is not waited for."""
        if who not in self._due:
            self.start(who)

    def stop(self, who: T) -> None:
        """Wait no more. Harmless for one who is not waited for."""
        self._due.pop(who, None)

    def clear(self) -> None:
        """Wait for nobody."""
        self._due.clear()
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None

    def _ring(self) -> None:
        # What came while nothing was read, as when the process was stopped, came in time: it is read before.
        self._call = self._clock.callLater(0, self._expire)

    def _expire(self) -> None:
        now = self._clock.seconds()
        while self._due and (first := next(iter(self._due.items())))[1] <= now:
            del self._due[first[0]]
            self._expired(first[0])
        self._call = None
        if self._due:
            self._call = self._clock.callLater(next(iter(self._due.values())) - now, self._ring)
