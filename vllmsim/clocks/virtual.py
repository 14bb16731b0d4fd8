# -*- test-case-name: tests.clocks.test_virtual -*-
"""Time that stands still until somebody moves it.

What is due at the time that it is happens by itself, in the reactor's next turn. So whatever takes no time needs nobody
to move the clock. Calls that are due at the same time come in the order in which they were asked for.

Work takes no time here: it is never interrupted to let other events in, as that would depend on the machine's speed.
"""

import heapq
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import count
from typing import Any, ClassVar

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

    :param function: what is called; None when it has been.
    """

    _calls: "_Calls"
    time: float
    function: Callable[[], object] | None
    _cancelled: bool = field(init=False, default=False)

    def getTime(self) -> float:
        return self.time

    def cancel(self) -> None:
        self._check()
        self._cancelled = True

    def delay(self, secondsLater: float) -> None:
        self._move(self.time + secondsLater)

    def reset(self, secondsFromNow: float) -> None:
        self._move(self._calls.clock.seconds() + secondsFromNow)

    def active(self) -> bool:
        return self.function is not None and not self._cancelled

    def _move(self, time: float) -> None:
        self._check()
        self.time = time
        self._calls.push(self)

    def _check(self) -> None:
        if self._cancelled:
            raise AlreadyCancelled
        if self.function is None:
            raise AlreadyCalled


@define(eq=False)
class _Calls:
    """Calls that are to come, in the order of their times."""

    clock: "VirtualClock"
    _heap: list[tuple[float, int, _VirtualCall]] = field(init=False, factory=list)
    """Each has the time that it had when it was put there, and is of no more use when its call has another."""

    def add(self, delay: float, function: Callable[[], object]) -> _VirtualCall:
        assert delay >= 0, "Calls cannot come in the past."
        call = _VirtualCall(self, self.clock.seconds() + delay, function)
        self.push(call)
        return call

    def push(self, call: _VirtualCall) -> None:
        heapq.heappush(self._heap, (call.time, self.clock.number(), call))
        self.clock.look()

    @property
    def first(self) -> tuple[float, int] | None:
        """The time of the first, and its place among those of the same time."""
        heap = self._heap
        while heap and (not heap[0][2].active() or heap[0][2].time != heap[0][0]):
            heapq.heappop(heap)
        return heap[0][:2] if heap else None

    def pop(self) -> _VirtualCall:
        return heapq.heappop(self._heap)[2]

    def coming(self) -> Iterable[_VirtualCall]:
        return dict.fromkeys(call for _, _, call in sorted(self._heap) if call.active())


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
    _calls: _Calls = field(init=False)
    _background_calls: _Calls = field(init=False)
    _turn: IDelayedCall | None = field(init=False, default=None)
    background: "BackgroundClock" = field(init=False)
    """The same time, for what goes on whether there are requests or not."""

    @_calls.default
    def _make_calls(self) -> _Calls:
        return _Calls(self)

    @_background_calls.default
    def _make_background_calls(self) -> _Calls:
        return _Calls(self)

    @background.default
    def _make_background(self) -> "BackgroundClock":
        return BackgroundClock(self, self._background_calls)

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
        return self._calls.add(delay, partial(callable, *args, **kwargs))

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        """List all calls that are to come, those of the background too."""
        return [*self._calls.coming(), *self._background_calls.coming()]

    @property
    def next_work(self) -> float | None:
        """When the next call is due that is none of the background; None if there is none."""
        first = self._calls.first
        return None if first is None else first[0]

    @property
    def next_call(self) -> float | None:
        """When the next call of any kind is due; None if there is none."""
        first = self._first()
        return None if first is None else first.first[0]  # type: ignore[index]

    @property
    def due(self) -> bool:
        """Whether something is to happen before time goes on."""
        due = self.next_call
        return due is not None and due <= self._now

    def move(self, time: float) -> None:
        """Have it be another time. What is due then happens in the reactor's next turn, or with :meth:`run_due`.

        :param time: not before now, and not after the next call.
        """
        assert self._now <= time, "Time does not go back."
        self._now = time
        self.look()

    def run_due(self) -> None:
        """Call what is due now. What that has called at once comes the next time."""
        last = self.number()
        while (calls := self._first()) is not None:
            time, place = calls.first  # type: ignore[misc]
            if time > self._now or place > last:
                return
            call = calls.pop()
            function, call.function = call.function, None
            try:
                function()  # type: ignore[misc]
            except Exception:  # noqa: BLE001 - as in the reactor, others have their turn all the same
                self._log.failure("What was to happen at {time:g} s failed.", time=time)

    def number(self) -> int:
        """Tell the place of a new call among those of the same time."""
        return next(self._order)

    def look(self) -> None:
        """See to it that what is due happens."""
        if self._turn is None and self.due:
            self._turn = self._reactor.callLater(0, self._take_turn)

    def _take_turn(self) -> None:
        self._turn = None
        self.run_due()
        self.look()

    def _first(self) -> _Calls | None:
        """Find what has the next call."""
        own, other = self._calls.first, self._background_calls.first
        if own is None:
            return None if other is None else self._background_calls
        return self._calls if other is None or own < other else self._background_calls


@implementer(IReactorTime)
@define(eq=False)
class BackgroundClock(SimulatedClock):
    """The time of a virtual clock, for calls that nobody waits for who has the clock run until it is idle."""

    _clock: VirtualClock
    _calls: _Calls

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
        return self._calls.add(delay, partial(callable, *args, **kwargs))

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        """List all calls that are to come."""
        return self._clock.getDelayedCalls()
