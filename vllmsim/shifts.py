# -*- test-case-name: tests.test_shifts -*-
"""Work of many on the reactor: in steps, and no more of them in one turn of the reactor than it may be held for.

Everyone's steps count together. So a thousand short prompts hold the reactor no longer than a long one does, and those
who have more to do go on one after the other.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from vllmsim.clocks.simulated import work_clock

SHIFT: Final = 0.001
"""Seconds of work after which other events are let in."""


@define(eq=False)
class Shifts:
    """The time of those who work."""

    _clock: IReactorTime = field(converter=work_clock)
    _spent: float = field(init=False, default=0.0)
    """Seconds of work since other events were let in for it, and perhaps before."""
    _waiting: deque[Deferred[None]] = field(init=False, factory=deque)
    _next: IDelayedCall | None = field(init=False, default=None)

    async def run(self, steps: Iterator[object]) -> None:
        """Take all steps.

        The coroutine goes on at once if there is time. It may be cancelled between shifts.

        :param steps: does one each time that it is asked for one; each should be short.
        """
        while await self._work(steps):
            pass

    async def _work(self, steps: Iterator[object]) -> bool:
        """Take steps for a shift.

        :return: whether there may be more.
        """
        if self._waiting or self._spent >= SHIFT:
            await self._turn()
        now = begun = self._clock.seconds()
        end = begun + SHIFT - self._spent
        try:
            for _ in steps:
                now = self._clock.seconds()
                if now >= end:
                    return True
        finally:
            self._spent += self._clock.seconds() - begun
        return False

    def _turn(self) -> Deferred[None]:
        waiter: Deferred[None] = Deferred(self._give_up)
        self._waiting.append(waiter)
        if self._next is None:
            self._next = self._clock.callLater(0, self._change)
        return waiter

    def _give_up(self, waiter: Deferred[None]) -> None:
        self._waiting.remove(waiter)
        if not self._waiting and self._next is not None:
            self._next.cancel()
            self._next = None

    def _change(self) -> None:
        """Begin a shift: who has waited longest goes on first. What they do when they have no more steps counts too."""
        self._next, self._spent = None, 0.0
        end = self._clock.seconds() + SHIFT
        while self._waiting and self._clock.seconds() < end:
            self._waiting.popleft().callback(None)
        if self._waiting and self._next is None:
            self._next = self._clock.callLater(0, self._change)
