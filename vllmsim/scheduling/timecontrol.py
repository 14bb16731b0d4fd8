# -*- test-case-name: tests.scheduling.test_timecontrol -*-
"""Tells the simulated time of the ranks of a process, and moves it where it stands still.

Time is moved from one deadline to the next. Before each, everything has happened that belongs to the moment: what is
due then, what is done in threads, what neighbours are asked. So nothing depends on the machine's speed.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, Final, TypeVar

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from vllmsim.clocks.clocks import Clocks
from vllmsim.clocks.simulated import scale_of
from vllmsim.clocks.virtual import VirtualClock
from vllmsim.errors import Conflict
from vllmsim.interfaces import ITimeControl
from vllmsim.turns import Turn, when_read

T = TypeVar("T")

_LOOK: Final = 0.001
"""Real seconds between two looks at whether requests have come that somebody waits for."""


@implementer(ITimeControl)
@define(eq=False)
class TimeControl:
    """Moves time for one caller after the other."""

    _log: ClassVar[Logger] = Logger()

    _clocks: Clocks
    _begun: float = field(init=False)
    _ranks: list[tuple[Callable[[], int], Callable[[], int]]] = field(init=False, factory=list)
    _turn: DeferredLock = field(init=False, factory=DeferredLock)
    """Whose turn it is to move time."""
    _running_on: "Deferred[None] | None" = field(init=False, default=None)

    @_begun.default
    def _begin(self) -> float:
        return self._clocks.simulated.seconds()

    def enlist(self, came: Callable[[], int], unfinished: Callable[[], int]) -> None:
        """Tell of one more rank.

        :param came: counts the requests that have come.
        :param unfinished: counts those that are served.
        """
        self._ranks.append((came, unfinished))

    def describe(self) -> Mapping[str, Any]:
        """Tell the time; see :class:`vllmsim.interfaces.ITimeControl`."""
        clocks = self._clocks
        return {
            "clock": "virtual" if isinstance(clocks.simulated, VirtualClock) else "real",
            "time_scale": scale_of(clocks.simulated),
            "now": clocks.simulated.seconds() - self._begun,
            "time": clocks.epoch(),
            "requests": self._came(),
            "unfinished": sum(unfinished() for _, unfinished in self._ranks),
        }

    async def advance(self, seconds: float, requests: int, timeout: float) -> None:  # noqa: ASYNC109 - it is the reactor's
        """Move time; see :class:`vllmsim.interfaces.ITimeControl`."""
        clock = self._clock()
        await self._within(timeout, requests, lambda: self._advance(clock, seconds, requests))

    async def run_until_idle(self, limit: float, requests: int, timeout: float) -> None:  # noqa: ASYNC109 - it is the reactor's
        """Move time as far as requests need it; see :class:`vllmsim.interfaces.ITimeControl`."""
        clock = self._clock()
        await self._within(timeout, requests, lambda: self._run_until_idle(clock, limit, requests))

    def run_on(self) -> None:
        """Have time go on for requests that are served, as nobody can move it any more. Harmless where it does."""
        clock = self._clocks.simulated
        if self._running_on is None and isinstance(clock, VirtualClock):
            self._running_on = Deferred.fromCoroutine(self._in_turn(lambda: self._run(clock, None)))
            self._running_on.addErrback(lambda reason: reason.trap(CancelledError) and None)
            self._running_on.addErrback(lambda reason: self._log.failure("Time does not go on.", reason))

    def stop(self) -> None:
        """Leave time where it is. Harmless when nobody moves it."""
        if self._running_on is not None:
            self._running_on.cancel()

    def _clock(self) -> VirtualClock:
        clock = self._clocks.simulated
        if not isinstance(clock, VirtualClock):
            raise Conflict(
                "Time goes on by itself here: only a server that is started with clock: virtual has it moved."
            )
        return clock

    def _came(self) -> int:
        return sum(came() for came, _ in self._ranks)

    async def _within(self, seconds: float, requests: int, move: Callable[[], Awaitable[None]]) -> None:
        """Move time when it is one's turn.

        :raises Conflict: when that takes too long.
        """
        moving = Deferred.fromCoroutine(self._in_turn(move))
        try:
            await moving.addTimeout(seconds, self._clocks.real)
        except DeferredTimeoutError:
            raise Conflict(self._why_late(seconds, requests)) from None

    def _why_late(self, seconds: float, requests: int) -> str:
        """Say why something has taken too long, which is over now."""
        where = f"It is {self._clocks.simulated.seconds():.6f} s on the clock, after {seconds:g} s of real time"
        if self._came() < requests:
            return f"{where}: {self._came()} of {requests} requests have come."
        if self._clocks.standstill.count:
            return (
                f"{where}: time waits for what is read, composed or done in threads ({self._clocks.standstill.count})."
            )
        return f"{where}, which were not enough."

    async def _in_turn(self, move: Callable[[], Awaitable[None]]) -> None:
        await self._turn.acquire()
        try:
            await move()
        finally:
            self._turn.release()

    async def _advance(self, clock: VirtualClock, seconds: float, requests: int) -> None:
        await self._gather(requests)
        end = clock.seconds() + seconds
        await self._settle(clock)
        turn = Turn(self._clocks.real)
        while (due := clock.next_call) is not None and due <= end:
            clock.move(due)
            await self._settle(clock)
            await turn.step()
        clock.move(end)

    async def _run_until_idle(self, clock: VirtualClock, limit: float, requests: int) -> None:
        await self._gather(requests)
        await self._run(clock, clock.seconds() + limit)

    async def _run(self, clock: VirtualClock, end: float | None) -> None:
        """Move time until no call is to come that is a request's.

        :raises Conflict: when one is to come after the end.
        """
        turn = Turn(self._clocks.real)
        await self._settle(clock)
        while (wanted := clock.next_work) is not None:
            if end is not None and wanted > end:
                unfinished = sum(unfinished() for _, unfinished in self._ranks)
                raise Conflict(
                    f"It is {clock.seconds():.6f} s on the clock, the next event of a request is at {wanted:.6f} s, and"
                    f" the limit was {end:.6f} s: {unfinished} requests are unfinished."
                )
            due = clock.next_call
            assert due is not None
            clock.move(due)
            await self._settle(clock)
            await turn.step()

    async def _gather(self, requests: int) -> None:
        """Wait until what has been sent before is read, and so many requests have come."""
        read: Deferred[None] = Deferred()
        when_read(self._clocks.real, read.callback, None)
        await read
        while self._came() < requests:
            await deferLater(self._clocks.real, _LOOK)

    async def _settle(self, clock: VirtualClock) -> None:
        """Have everything happen that belongs to this moment."""
        turn, standstill = Turn(self._clocks.real), self._clocks.standstill
        while True:
            if clock.due:
                clock.run_due()
                await turn.step()
            elif standstill.count:
                await standstill.over()
                # Who was waited for goes on only now.
                await deferLater(self._clocks.real, 0)
            else:
                return
