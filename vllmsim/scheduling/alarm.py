# -*- test-case-name: tests.scheduling.test_alarm -*-
"""What wakes the pacer at a deadline.

Twisted's delayed calls are late by up to a millisecond with epoll, which counts in milliseconds. A timer of Linux that
the reactor reads as it reads sockets is not, so that one is used where reactor and platform have it.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReactorTime, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from vllmsim.clocks.scaled import ScaledClock
from vllmsim.scheduling import timerfd

_log = Logger()


class Alarm(Protocol):
    """Rings once at the deadline that it was set to last."""

    def set(self, deadline: float) -> None:
        """Ring at a deadline, not before, and at no other; as soon as others have had their turn if it has passed.

        :param deadline: in seconds of the clock.
        """

    def cancel(self) -> None:
        """Do not ring. Harmless when it would not."""

    def close(self) -> None:
        """Be of no more use."""


def open_alarm(clock: IReactorTime, ring: Callable[[], None]) -> Alarm:
    """Make the best alarm that there is for a clock.

    The kernel's timers go with a reactor that reads files and lives by the monotonic clock, as the daemon's does, and
    with time that is a multiple of its.

    :param clock: the reactor, or what stands in for it.
    :param ring: called at each deadline; it must not raise.
    """
    if isinstance(clock, ScaledClock):
        return ScaledAlarm(clock, open_alarm(clock.reactor, ring))
    if IReactorFDSet.providedBy(clock) and abs(clock.seconds() - time.monotonic()) < 1:
        try:
            return TimerAlarm(clock, clock, ring, timerfd.create())
        except OSError as error:
            _log.debug("There is no timer to be had; tokens may be a millisecond late: {error}", error=error)
    return DelayedCallAlarm(clock, ring)


@define(eq=False)
class ScaledAlarm:
    """Rings by the alarm of the reactor's time."""

    _clock: ScaledClock
    _alarm: Alarm

    def set(self, deadline: float) -> None:
        """Ring at a deadline."""
        self._alarm.set(self._clock.real_at(deadline))

    def cancel(self) -> None:
        """Do not ring."""
        self._alarm.cancel()

    def close(self) -> None:
        """Be of no more use."""
        self._alarm.close()


@define(eq=False)
class DelayedCallAlarm:
    """Rings by a delayed call of the reactor."""

    _clock: IReactorTime
    _ring: Callable[[], None]
    _deadline: float | None = field(init=False, default=None)
    _call: IDelayedCall | None = field(init=False, default=None)

    def set(self, deadline: float) -> None:
        """Ring at a deadline."""
        if deadline != self._deadline:
            self.cancel()
            self._deadline = deadline
            self._call = self._clock.callLater(max(0.0, deadline - self._clock.seconds()), self._come)

    def cancel(self) -> None:
        """Do not ring."""
        call, self._call, self._deadline = self._call, None, None
        if call is not None and call.active():
            call.cancel()

    def close(self) -> None:
        """Do not ring."""
        self.cancel()

    def _come(self) -> None:
        self._call = self._deadline = None
        self._ring()


@implementer(IReadDescriptor)
@define(eq=False)
class TimerAlarm:
    """Rings by a timer of the kernel.

    A delayed call rings where that is as good and costs less: when the deadline has passed already. If the reactor ever
    ceases to read the timer, or the timer is no more there, delayed calls ring at all deadlines.

    :param timer: its file descriptor, which is closed with the alarm.
    """

    _reactor: IReactorFDSet
    _clock: IReactorTime
    _ring: Callable[[], None]
    _timer: int
    _deadline: float | None = field(init=False, default=None)
    _delayed: DelayedCallAlarm = field(init=False)

    @_delayed.default
    def _make_delayed(self) -> DelayedCallAlarm:
        return DelayedCallAlarm(self._clock, self._come)

    def __attrs_post_init__(self) -> None:
        self._reactor.addReader(self)

    def set(self, deadline: float) -> None:
        """Ring at a deadline."""
        if deadline == self._deadline:
            return
        self._deadline = deadline
        delay = deadline - self._clock.seconds()
        if delay <= 0 or self._timer < 0:
            self._delayed.set(deadline)
            return
        self._delayed.cancel()
        try:
            timerfd.arm(self._timer, delay)
        except OSError as error:
            # Somebody has closed the file, and may have opened another in its place: it is no more ours to close.
            self._cease(error)
            with suppress(OSError):
                self._reactor.removeReader(self)
            self._timer = -1
            self._delayed.set(deadline)

    def cancel(self) -> None:
        """Do not ring. The timer may still come, and nothing is done then."""
        self._deadline = None
        self._delayed.cancel()

    def close(self) -> None:
        """Have the reactor read no more, and give the timer back."""
        self.cancel()
        if self._timer >= 0:
            with suppress(OSError):
                self._reactor.removeReader(self)
            self._discard()

    def fileno(self) -> int:
        """Tell the reactor what to read; -1 when there is nothing any more."""
        return self._timer

    def doRead(self) -> None:
        """Ring: the timer has come. Nothing may be raised here, as the reactor would read no more."""
        try:
            os.read(self._timer, 8)
        except OSError:
            # It was set anew after the reactor saw that it had come.
            return
        try:
            self._come()
        except Exception:  # noqa: BLE001 - see above
            _log.failure("What is to be done at a deadline failed.")

    def connectionLost(self, reason: Failure) -> None:
        """Go on with delayed calls: the reactor has ceased to read the timer."""
        if self._timer < 0:
            return
        self._cease(reason.value)
        self._discard()
        if self._deadline is not None:
            self._delayed.set(self._deadline)

    def logPrefix(self) -> str:
        """Name the alarm in the reactor's own messages."""
        return type(self).__name__

    def _come(self) -> None:
        if self._deadline is None:
            return
        self._deadline = None
        self._delayed.cancel()
        self._ring()

    def _cease(self, reason: object) -> None:
        _log.warn("The pacer's timer is lost; delayed calls take its place: {reason}", reason=reason)

    def _discard(self) -> None:
        timer, self._timer = self._timer, -1
        with suppress(OSError):
            os.close(timer)
