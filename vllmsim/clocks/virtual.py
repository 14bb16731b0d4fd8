# -*- test-case-name: tests.clocks.test_virtual -*-
"""Time that stands still until somebody moves it.

What is due at the time that it is happens by itself, in the reactor's next turn. So whatever takes no time needs nobody
to move the clock. Calls that are due at the same time come in the order in which they were asked for.

Work takes no time here: it is never interrupted to let other events in, as that would depend on the machine's speed.
"""

import heapq
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Any, ClassVar, TypeAlias

from attrs import define, field
from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from vllmsim.clocks.simulated import SimulatedClock


@implementer(IDelayedCall)
@define(eq=False)
class _VirtualCall:
    """A call that is to come.

    :param function: what is called; None when it has been, or never will be.
    :param work: whether it belongs to what somebody waits for.
    """

    _clock: "VirtualClock"
    time: float
    function: Callable[[], object] | None
    work: bool
    _cancelled: bool = field(init=False, default=False)

    def getTime(self) -> float:
        return self.time

    def cancel(self) -> None:
        self._check()
        self._cancelled, self.function = True, None

    def delay(self, secondsLater: float) -> None:
        self._move(self.time + secondsLater)

    def reset(self, secondsFromNow: float) -> None:
        self._move(self._clock.seconds() + secondsFromNow)

    def active(self) -> bool:
        return self.function is not None

    def _move(self, time: float) -> None:
        self._check()
        self.time = time
        self._clock.put(self)

    def _check(self) -> None:
        if self._cancelled:
            raise AlreadyCancelled
        if self.function is None:
            raise AlreadyCalled


_Entry: TypeAlias = tuple[float, int, _VirtualCall]
"""A call in a heap, at the time that it had when it was put there. If it has another now, it is there once more."""


def _first(heap: list[_Entry]) -> _Entry | None:
    """Find the first call that is still to come."""
    while heap:
        time, _, call = heap[0]
        if call.function is not None and call.time == time:
            return heap[0]
        heapq.heappop(heap)
    return None


@implementer(IReactorTime)
@define(eq=False)
class VirtualClock(SimulatedClock):
    """A time that begins at 0 and is moved.

    :param reactor: has turns, in which what is due happens.
    """

    _log: ClassVar[Logger] = Logger()

    _reactor: IReactorTime
    _now: float = field(init=False, default=0.0)
    _order: "count[int]" = field(init=False, factory=count)
    _calls: list[_Entry] = field(init=False, factory=list)
    """All calls, in a heap."""
    _work_calls: list[_Entry] = field(init=False, factory=list)
    """Those that somebody waits for, in another."""
    _turn: IDelayedCall | None = field(init=False, default=None)
    background: "BackgroundClock" = field(init=False)
    """The same time, for what goes on whether there are requests or not."""

    @background.default
    def _make_background(self) -> "BackgroundClock":
        return BackgroundClock(self)

    @property
    def scale(self) -> float:
        """No second passes by itself."""
        return 0.0

    @property
    def work(self) -> IReactorTime:
        """The same clock: work takes no time."""
        return self

    def seconds(self) -> float:
        """Tell the time."""
        return self._now

    def callLater(self, delay: float, callable: Callable[..., Any], *args: object, **kwargs: object) -> IDelayedCall:  # noqa: A002
        """Call a function when the clock has been moved by so many seconds; in the reactor's next turn if by none."""
        return self.call_later(delay, partial(callable, *args, **kwargs), work=True)

    def call_later(self, delay: float, function: Callable[[], object], *, work: bool) -> IDelayedCall:
        """Do so.

        :param work: whether somebody waits for it who has the clock run until it is idle.
        """
        assert delay >= 0, "Calls cannot come in the past."
        call = _VirtualCall(self, self._now + delay, function, work)
        self.put(call)
        return call

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        """List all calls that are to come, those of the background too."""
        coming = [call for time, _, call in sorted(self._calls) if call.active() and call.time == time]
        return list(dict.fromkeys(coming))

    @property
    def next_work(self) -> float | None:
        """When the next call is due that is none of the background; None if there is none."""
        first = _first(self._work_calls)
        return None if first is None else first[0]

    @property
    def next_call(self) -> float | None:
        """When the next call of any kind is due; None if there is none."""
        first = _first(self._calls)
        return None if first is None else first[0]

    @property
    def due(self) -> bool:
        """Whether something is to happen before time goes on."""
        first = _first(self._calls)
        return first is not None and first[0] <= self._now

    def move(self, time: float) -> None:
        """Have it be another time. What is due then happens in the reactor's next turn, or with :meth:`run_due`.

        :param time: not before now, and not after the next call.
        """
        assert self._now <= time, "Time does not go back."
        self._now = time
        self._look()

    def run_due(self) -> None:
        """Call what is due now. What that has called at once comes the next time."""
        last = next(self._order)
        while (first := _first(self._calls)) is not None:
            time, place, call = first
            if time > self._now or place > last:
                return
            heapq.heappop(self._calls)
            function, call.function = call.function, None
            try:
                function()  # type: ignore[misc]
            except Exception:  # noqa: BLE001 - as in the reactor, others have their turn all the same
                self._log.failure("What was to happen at {time:g} s failed.", time=time)

    def put(self, call: _VirtualCall) -> None:
        """Have a call come at its time, behind all others of that time."""
        entry = call.time, next(self._order), call
        heapq.heappush(self._calls, entry)
        if call.work:
            heapq.heappush(self._work_calls, entry)
        if call.time <= self._now:
            self._look()

    def _look(self) -> None:
        """See to it that what is due happens."""
        if self._turn is None and self.due:
            self._turn = self._reactor.callLater(0, self._take_turn)

    def _take_turn(self) -> None:
        self._turn = None
        self.run_due()
        self._look()


@implementer(IReactorTime)
@define(eq=False)
class BackgroundClock(SimulatedClock):
    """The time of a virtual clock, for calls that nobody waits for who has the clock run until it is idle."""

    _clock: VirtualClock

    @property
    def scale(self) -> float:
        """That of the clock."""
        return self._clock.scale

    @property
    def work(self) -> IReactorTime:
        """That of the clock."""
        return self._clock.work

    def seconds(self) -> float:
        """Tell the time."""
        return self._clock.seconds()

    def callLater(self, delay: float, callable: Callable[..., Any], *args: object, **kwargs: object) -> IDelayedCall:  # noqa: A002
        """Call a function when the clock has been moved by so many seconds."""
        return self._clock.call_later(delay, partial(callable, *args, **kwargs), work=False)

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        """List all calls that are to come."""
        return self._clock.getDelayedCalls()
