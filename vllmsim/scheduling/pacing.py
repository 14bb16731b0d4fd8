# -*- test-case-name: tests.scheduling.test_pacing -*-
"""When tokens leave: one loop per rank hands every due token to its sink.

Deadlines are absolute, so that a late tick makes no later tick late: a sequence that missed five gaps gets all five
tokens at once and goes on in its own time.

The pacer has a time of its own, which stands still while it is frozen: what was due in half a second when it froze is
due half a second after it goes on.
"""

import heapq
from collections.abc import Callable
from itertools import count
from typing import ClassVar, Final, Protocol

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from vllmsim.scheduling.turns import TURN

_GRAIN: Final = 1e-9
"""Seconds by which a deadline may be ahead and has come all the same: less than that is rounding."""


class Paced(Protocol):
    """Something that has tokens to emit in the course of time."""

    def emit(self, now: float) -> float | None:
        """Emit every token that is due.

        :param now: the time, as the pacer counts it.
        :return: when the next one is due, or None after the last.
        """

    def fail(self, reason: Failure) -> None:
        """Learn that :meth:`emit` raised, and that it will not be called again."""


@define(eq=False)
class Place:
    """A sequence's place in the pacer.

    :param order: tells places with one deadline apart.
    :param paced: who emits, or None once the place is given back.
    """

    order: int
    paced: Paced | None


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
    _loop: LoopingCall = field(init=False)
    _nap: Deferred[None] | None = field(init=False, default=None)
    _alarm: IDelayedCall | None = field(init=False, default=None)
    _frozen_at: float | None = field(init=False, default=None)
    held: float = field(init=False, default=0.0)
    """How many seconds the pacer has been frozen until it last went on: its time is so far behind the clock's."""

    @_loop.default
    def _make_loop(self) -> LoopingCall:
        loop = LoopingCall(self._tick)
        loop.clock = self._clock
        return loop

    def start(self) -> None:
        """Begin to emit."""
        self._loop.start(0).addErrback(self._restart)

    def stop(self) -> None:
        """Emit nothing more; everything in the heap is forgotten."""
        self._heap.clear()
        if self._loop.running:
            self._loop.stop()
        self._wake()

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
        place = Place(next(self._order), paced)
        heapq.heappush(self._heap, (due, place.order, place))
        if self._heap[0][2] is place:
            self._set_alarm()
        return place

    def discard(self, place: Place) -> None:
        """Take a place back: the sequence emits no more. Harmless after the last token."""
        place.paced = None
        if self._heap and self._heap[0][2] is place:
            self._set_alarm()

    def _tick(self) -> Deferred[None]:
        heap, clock = self._heap, self._clock
        begun, now = clock.seconds(), self.seconds() + _GRAIN
        served = False
        while heap and heap[0][0] <= now and self._frozen_at is None:
            place = heapq.heappop(heap)[2]
            if place.paced is None:
                continue
            self._serve(place, place.paced, now)
            served = True
            if clock.seconds() - begun > TURN:
                break
        if served:
            self._ticked()
        self._nap = Deferred()
        self._set_alarm()
        return self._nap

    def _serve(self, place: Place, paced: Paced, now: float) -> None:
        try:
            due = paced.emit(now)
        except Exception:  # noqa: BLE001 - whatever a sink or a plugin raises must not stop the others
            paced.fail(Failure())
        else:
            if due is not None and place.paced is not None:
                heapq.heappush(self._heap, (due, place.order, place))

    def _set_alarm(self) -> None:
        """While napping, wake for the earliest deadline and no other."""
        if self._nap is None:
            return
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        while self._heap and self._heap[0][2].paced is None:
            heapq.heappop(self._heap)
        if self._heap and self._frozen_at is None:
            delay = self._heap[0][0] - self.seconds()
            self._alarm = self._clock.callLater(max(0.0, delay), self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._wake()

    def _wake(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        nap, self._nap = self._nap, None
        if nap is not None:
            nap.callback(None)

    def _restart(self, reason: Failure) -> None:
        self._log.failure("The pacer stopped and is started again.", failure=reason)
        self._alarm = self._clock.callLater(0, self._start_again)

    def _start_again(self) -> None:
        self._alarm = None
        self.start()
