# -*- test-case-name: tests.scheduling.test_pacing -*-
"""When tokens leave: one loop per rank hands every due token to its sink.

Deadlines are absolute, so that a late tick makes no later tick late: a sequence that missed five gaps gets all five
tokens at once and goes on in its own time.

The pacer has a time of its own, which stands still while it is frozen: what was due in half a second when it froze is
due half a second after it goes on.
"""

import heapq
import math
from collections.abc import Callable
from itertools import count
from typing import ClassVar, Final, Protocol, Self, cast

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from vllmsim.clocks.simulated import scale_of, work_clock
from vllmsim.scheduling.alarm import Alarm, open_alarm
from vllmsim.turns import TURN

QUANTUM: Final = 0.0005
"""The fewest seconds from one tick to the next, unless something is due that comes late already.

What becomes due within that time is emitted together. Nothing comes later by more than this, half of it as a rule; with
hundreds of streams a tick for every deadline would take four times as much work of the pacer's own. It is the machine's
time: where simulated time goes faster it is as much more of that, and nothing where that stands still.
"""

_GRAIN: Final = 1e-9
"""Seconds by which a deadline may be ahead and has come all the same: less than that is rounding."""


class Paced(Protocol):
    """Something that has tokens to emit in the course of time."""

    def emit(self, now: float) -> float | None:
        """Emit every token that is due.

        :param now: the time, as the pacer counts it.
        :return: when the next one is due, or None after the last. If that is not later than `now`, it is called again
            when others who have something due have had their turn.
        """

    def fail(self, reason: Failure) -> None:
        """Learn that :meth:`emit` raised, and that it will not be called again."""


@define(eq=False)
class Place:
    """A sequence's place in the pacer.

    :param paced: who emits, or None once the place is given back.
    """

    paced: Paced | None


@define(eq=False)
class _Nap:
    """What the pacer's loop has for a clock: the loop asks to go on at once, and does when its nap is over.

    :param begun: called when a nap begins.
    """

    _clock: IReactorTime
    _begun: Callable[[], None]
    _next: Callable[[], object] | None = field(init=False, default=None)

    @property
    def lasts(self) -> bool:
        """Whether the loop naps."""
        return self._next is not None

    def seconds(self) -> float:
        """Tell the time."""
        return self._clock.seconds()

    def callLater(self, _delay: float, go_on: Callable[[], object]) -> Self:
        """Begin a nap."""
        self._next = go_on
        self._begun()
        return self

    def cancel(self) -> None:
        """Never go on. Harmless when there is no nap."""
        self._next = None

    def end(self) -> None:
        """Go on. Harmless when there is no nap."""
        go_on, self._next = self._next, None
        if go_on is not None:
            go_on()


@define(eq=False)
class TokenPacer:
    """Wakes at each deadline and emits what is due.

    :param clock: where time comes from.
    :param ticked: called after each tick in which something was emitted.
    """

    _log: ClassVar[Logger] = Logger()

    _clock: IReactorTime
    _ticked: Callable[[], None]
    _heap: list[tuple[float, int, Place]] = field(init=False, factory=list)
    _order: "count[int]" = field(init=False, factory=count)
    _nap: _Nap = field(init=False)
    _loop: LoopingCall = field(init=False)
    _alarm: Alarm | None = field(init=False, default=None)
    _served: float = field(init=False, default=-math.inf)
    """Up to what time everything due has been emitted, or is to be at the next tick; that is not put off."""
    _frozen_at: float | None = field(init=False, default=None)
    _work: IReactorTime = field(init=False)
    _quantum: float = field(init=False)
    held: float = field(init=False, default=0.0)
    """How many seconds the pacer has been frozen until it last went on: its time is so far behind the clock's."""

    @_work.default
    def _find_work(self) -> IReactorTime:
        return work_clock(self._clock)

    @_quantum.default
    def _find_quantum(self) -> float:
        return QUANTUM * scale_of(self._clock)

    @_nap.default
    def _make_nap(self) -> _Nap:
        return _Nap(self._clock, self._set_alarm)

    @_loop.default
    def _make_loop(self) -> LoopingCall:
        loop = LoopingCall(self._tick)
        loop.clock = cast("IReactorTime", self._nap)
        return loop

    def start(self) -> None:
        """Begin to emit."""
        self._alarm = open_alarm(self._clock, self._nap.end)
        self._run()

    def stop(self) -> None:
        """Emit nothing more; everything in the heap is forgotten."""
        self._heap.clear()
        self._halt()

    def restart(self) -> None:
        """Go on with a new alarm, at once: for a pacer that nothing wakes any more."""
        self._halt()
        self.start()

    def overdue(self) -> object | None:
        """Tell what is due and next to be emitted, if anything is; the same object until that is done."""
        self._forget_discarded()
        if self._heap and self._frozen_at is None and self._heap[0][0] < self.seconds():
            return self._heap[0]
        return None

    def watch(self, ticked: Callable[[], None]) -> None:
        """Have somebody else called too, from now on, after each tick in which something was emitted."""
        before = self._ticked

        def tell() -> None:
            before()
            ticked()

        self._ticked = tell

    def seconds(self) -> float:
        """Tell the pacer's time."""
        return (self._clock.seconds() if self._frozen_at is None else self._frozen_at) - self.held

    def freeze(self) -> None:
        """Have time stand still: nothing is emitted and no deadline comes nearer. Harmless when it does already."""
        if self._frozen_at is None:
            self._frozen_at = self._clock.seconds()
            self._set_alarm()

    def thaw(self) -> None:
        """Have time go on. Harmless when it does."""
        if self._frozen_at is not None:
            self.held += self._clock.seconds() - self._frozen_at
            self._frozen_at = None
            self._set_alarm()

    def add(self, due: float, paced: Paced) -> Place:
        """Have a sequence emit from a given time on.

        :param due: when its first token is due, in the pacer's time.
        :return: its place, to be given back if it is to emit no more.
        """
        place = Place(paced)
        now = self.seconds()
        if due <= now:
            self._served = now
        heapq.heappush(self._heap, (due, next(self._order), place))
        if self._heap[0][2] is place:
            self._set_alarm()
        return place

    def catch_up(self) -> None:
        """Emit what should have been emitted before, when something has kept the reactor busy; else do nothing."""
        if (
            self._nap.lasts
            and self._frozen_at is None
            and self._heap
            and self._heap[0][0] + self._quantum < self.seconds()
        ):
            self._nap.end()

    def discard(self, place: Place) -> None:
        """Take a place back: the sequence emits no more. Harmless after the last token."""
        place.paced = None
        if self._heap and self._heap[0][2] is place:
            self._set_alarm()

    def _halt(self) -> None:
        if self._loop.running:
            self._loop.stop()
        self._nap.cancel()
        if self._alarm is not None:
            self._alarm.close()
            self._alarm = None

    def _forget_discarded(self) -> None:
        while self._heap and self._heap[0][2].paced is None:
            heapq.heappop(self._heap)

    def _run(self) -> None:
        self._loop.start(0).addErrback(self._restart)

    def _tick(self) -> None:
        heap, work = self._heap, self._work
        begun, now = work.seconds(), self.seconds() + _GRAIN
        served = False
        while heap and heap[0][0] <= now and self._frozen_at is None:
            place = heapq.heappop(heap)[2]
            if place.paced is None:
                continue
            self._serve(place, place.paced, now)
            served = True
            if work.seconds() - begun > TURN:
                break
        if served:
            self._served = max(self._served, now)
            self._ticked()

    def _serve(self, place: Place, paced: Paced, now: float) -> None:
        try:
            due = paced.emit(now)
        except Exception:  # noqa: BLE001 - whatever a sink or a plugin raises must not stop the others
            paced.fail(Failure())
        else:
            if due is not None and place.paced is not None:
                # Who has more that is due goes on after all others who have something due.
                heapq.heappush(self._heap, (max(due, now), next(self._order), place))

    def _set_alarm(self) -> None:
        """While the loop naps, wake it for the earliest deadline and no other."""
        if self._alarm is None or not self._nap.lasts:
            return
        self._forget_discarded()
        heap = self._heap
        if not heap or self._frozen_at is not None:
            self._alarm.cancel()
            return
        due = heap[0][0]
        if due > self._served:
            due = max(due, self._served + self._quantum)
        self._alarm.set(due + self.held)

    def _restart(self, reason: Failure) -> None:
        self._log.failure("The pacer stopped and is started again.", failure=reason)
        self._nap.callLater(0, self._run)
