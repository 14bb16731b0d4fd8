"""What wakes the pacer: the same rules for a timer of the kernel as for delayed calls."""

import os
import select
import sys
import time
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor, IReadWriteDescriptor
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from vllmsim.clocks.scaled import ScaledClock
from vllmsim.scheduling import timerfd
from vllmsim.scheduling.alarm import Alarm, DelayedCallAlarm, TimerAlarm, open_alarm

STEP = 0.004
LONG = 0.04
"""Seconds that pass soon, and those within which no machine is too slow to set an alarm."""
GRAIN = 1e-9
"""Less than that is rounding."""


@implementer(IReactorFDSet)
class ReadingClock(Clock):
    """A clock that takes real time to advance, and reads files meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[IReadDescriptor] = []

    def seconds(self) -> float:
        """Tell the time, which is real."""
        return time.monotonic()

    def addReader(self, reader: IReadDescriptor) -> None:
        """Begin to read."""
        self.readers.append(reader)

    def removeReader(self, reader: IReadDescriptor) -> None:
        """Read no more."""
        self.readers.remove(reader)

    def addWriter(self, writer: Any) -> None:
        """Nobody writes."""

    def removeWriter(self, writer: Any) -> None:
        """Nobody writes."""

    def removeAll(self) -> list[IReadDescriptor | IReadWriteDescriptor]:  # type: ignore[override]
        """Forget all."""
        return []

    def getReaders(self) -> list[IReadDescriptor]:
        """List who reads."""
        return self.readers

    def getWriters(self) -> list[Any]:
        """List who writes."""
        return []

    def advance(self, amount: float) -> None:
        """Let time pass."""
        end = self.seconds() + amount
        while True:
            for reader in select.select(self.readers, [], [], max(0.0, end - self.seconds()))[0]:
                reader.doRead()
            if self.seconds() >= end:
                break
        super().advance(amount)


class DelayedCallAlarmTests(SynchronousTestCase):
    """It rings once, at the deadline that was set last: by delayed calls."""

    def setUp(self) -> None:
        """Make an alarm."""
        self.rung: list[float] = []
        self.clock = self.make_clock()
        self.alarm: Alarm = open_alarm(self.clock, self.ring)
        self.addCleanup(self.alarm.close)

    def make_clock(self) -> Clock:
        """Make the clock that it rings by."""
        return Clock()

    def ring(self) -> None:
        """Remember when."""
        self.rung.append(self.clock.seconds())

    def after(self, seconds: float) -> float:
        """Tell what time it will be then."""
        return self.clock.seconds() + seconds

    def test_rings(self) -> None:
        """It rings once, at its deadline and not before."""
        deadline = self.after(2 * STEP)
        self.alarm.set(deadline)
        for _ in range(4):
            self.clock.advance(STEP)
        [rung] = self.rung
        self.assertGreaterEqual(rung, deadline)

    def test_past(self) -> None:
        """A deadline that has passed, or is now, has it ring when the reactor has its turn, not at once."""
        for seconds in (-1.0, 0.0):
            self.alarm.set(self.after(seconds))
            self.assertEqual([], self.rung)
            self.clock.advance(STEP)
            self.assertEqual(1, len(self.rung))
            self.rung.clear()

    def test_moved(self) -> None:
        """A deadline takes the place of the one before, whether it is earlier or later."""
        self.alarm.set(self.after(100.0))
        self.alarm.set(self.after(STEP))
        self.clock.advance(2 * STEP)
        self.assertEqual(1, len(self.rung))
        self.alarm.set(self.after(STEP))
        self.alarm.set(self.after(100.0))
        self.clock.advance(2 * STEP)
        self.assertEqual(1, len(self.rung))

    def test_set_twice(self) -> None:
        """It rings once for a deadline that is set twice, and again when that is set after it has rung."""
        deadline = self.after(STEP)
        self.alarm.set(deadline)
        self.alarm.set(deadline)
        self.clock.advance(2 * STEP)
        self.assertEqual(1, len(self.rung))
        self.alarm.set(deadline)
        self.clock.advance(STEP)
        self.assertEqual(2, len(self.rung))

    def test_cancel(self) -> None:
        """It does not ring when it is told not to, however often; it can be set again."""
        self.alarm.cancel()
        self.alarm.set(self.after(STEP))
        self.alarm.cancel()
        self.alarm.cancel()
        self.clock.advance(2 * STEP)
        self.assertEqual([], self.rung)
        self.alarm.set(self.after(STEP))
        self.clock.advance(STEP)
        self.assertEqual(1, len(self.rung))

    def test_close(self) -> None:
        """It does not ring when it is closed; twice is harmless."""
        self.alarm.set(self.after(STEP))
        self.alarm.close()
        self.alarm.close()
        self.clock.advance(2 * STEP)
        self.assertEqual([], self.rung)
        self.assertEqual([], self.clock.getDelayedCalls())


class TimerAlarmTests(DelayedCallAlarmTests):
    """The same by a timer of the kernel."""

    if not sys.platform.startswith("linux"):
        skip = "Only Linux has timers that are files."

    def setUp(self) -> None:
        """Make an alarm."""
        super().setUp()
        self.error: Exception | None = None
        assert isinstance(self.alarm, TimerAlarm)
        self.timer = self.alarm

    def make_clock(self) -> Clock:
        """Make a clock that reads files."""
        self.reactor = ReadingClock()
        return self.reactor

    def ring(self) -> None:
        """Remember when, and perhaps raise."""
        super().ring()
        if self.error is not None:
            raise self.error

    def test_provides(self) -> None:
        """The reactor can read it, and name it."""
        verifyObject(IReadDescriptor, self.timer)
        self.assertEqual("TimerAlarm", self.timer.logPrefix())

    def test_time_of_its_own(self) -> None:
        """A reactor that lives by another clock than the kernel's, as those in tests do, is served by its own calls."""
        self.assertIsInstance(open_alarm(MemoryReactorClock(), self.ring), DelayedCallAlarm)

    def test_no_timers(self) -> None:
        """Where there are no such timers, delayed calls ring."""
        self.patch(sys, "platform", "darwin")
        self.assertIsInstance(open_alarm(self.clock, self.ring), DelayedCallAlarm)

    def test_closed(self) -> None:
        """When it is closed the reactor reads no more, and the timer is given back."""
        timer = self.timer.fileno()
        self.timer.close()
        self.assertEqual(([], -1), (self.reactor.readers, self.timer.fileno()))
        self.assertRaises(OSError, os.fstat, timer)
        self.timer.connectionLost(Failure(ConnectionLost()))
        self.timer.doRead()
        self.assertEqual([], self.rung)

    def test_set_anew_just_before_it_is_read(self) -> None:
        """A timer that was set anew after the reactor saw that it had come does not ring before that time."""
        self.timer.set(self.after(LONG))
        self.assertTrue(select.select([self.timer], [], [], 10)[0])
        self.timer.set(self.after(100))
        self.timer.doRead()
        self.assertEqual([], self.rung)
        self.timer.set(self.after(STEP))
        self.clock.advance(2 * STEP)
        self.assertEqual(1, len(self.rung))

    def test_few_system_calls(self) -> None:
        """Nothing is asked of the kernel for the deadline that is set, for one that has passed, and for none."""
        armed: list[float] = []
        self.patch(timerfd, "arm", lambda _, delay: armed.append(delay))
        past, soon, late = map(self.after, (-1, 5, 7))
        for deadline in (soon, soon, late, late, past, past):
            self.alarm.set(deadline)
        self.alarm.cancel()
        self.assertEqual(2, len(armed))

    def test_error(self) -> None:
        """What goes wrong when it rings is logged and does not get to the reactor, which would read no more."""
        self.error = RuntimeError("broken")
        self.alarm.set(self.after(LONG))
        self.clock.advance(2 * LONG)
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))
        self.alarm.set(self.after(LONG))
        self.clock.advance(2 * LONG)
        self.assertEqual((2, 1), (len(self.rung), len(self.flushLoggedErrors(RuntimeError))))

    def test_comes_for_nothing(self) -> None:
        """A timer whose deadline was given up, or was overtaken by one that had passed, rings no more."""
        self.alarm.set(self.after(STEP))
        self.alarm.cancel()
        self.clock.advance(2 * STEP)
        self.assertEqual([], self.rung)
        self.alarm.set(self.after(STEP))
        self.alarm.set(self.after(-1))
        Clock.advance(self.clock, 0)
        self.assertEqual(1, len(self.rung))
        self.clock.advance(2 * STEP)
        self.assertEqual(1, len(self.rung))

    def test_given_up(self) -> None:
        """When the reactor gives the timer up, delayed calls keep the deadline that is set and all later ones."""
        self.alarm.set(self.after(STEP))
        self.reactor.removeReader(self.timer)
        self.timer.connectionLost(Failure(ConnectionLost()))
        self.clock.advance(2 * STEP)
        self.assertEqual(1, len(self.rung))
        self.alarm.set(self.after(STEP))
        self.alarm.cancel()
        self.clock.advance(2 * STEP)
        self.assertEqual(1, len(self.rung))
        self.alarm.set(self.after(1.0))
        self.alarm.close()
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_closed_by_others(self) -> None:
        """When somebody has closed the timer, delayed calls keep the deadlines, and the number is left to others."""
        number = self.timer.fileno()
        os.close(number)
        self.alarm.set(self.after(STEP))
        others = os.open(os.devnull, os.O_RDONLY)
        self.addCleanup(os.close, others)
        self.assertEqual((number, -1), (others, self.timer.fileno()))
        Clock.advance(self.clock, 2 * STEP)
        self.clock.advance(2 * STEP)
        self.assertEqual(1, len(self.rung))
        self.alarm.close()
        os.fstat(others)
        self.assertEqual([], self.reactor.readers)

    def test_given_up_while_idle(self) -> None:
        """When the reactor gives the timer up while none is set, nothing is."""
        self.timer.connectionLost(Failure(ConnectionLost()))
        self.assertEqual([], self.clock.getDelayedCalls())


class ScaledAlarmTests(DelayedCallAlarmTests):
    """The same in time that goes ten times as fast as the clock, by delayed calls."""

    def setUp(self) -> None:
        """Make an alarm of the faster time."""
        super().setUp()
        self.alarm.close()
        self.scaled = ScaledClock(self.clock, 10.0)
        self.alarm = open_alarm(self.scaled, self.ring)
        self.addCleanup(self.alarm.close)

    def ring(self) -> None:
        """Remember when."""
        self.rung.append(self.scaled.seconds() + GRAIN)

    def after(self, seconds: float) -> float:
        """Tell what time it will be there."""
        return self.scaled.seconds() + seconds * 10.0


class ScaledTimerAlarmTests(ScaledAlarmTests):
    """The same by a timer of the kernel."""

    if not sys.platform.startswith("linux"):
        skip = "Only Linux has timers that are files."

    def make_clock(self) -> Clock:
        """Make a clock that reads files."""
        return ReadingClock()

    def test_timer(self) -> None:
        """It is set at the kernel for as much of the machine's time as there is."""
        armed: list[float] = []
        self.patch(timerfd, "arm", lambda _, delay: armed.append(delay))
        self.alarm.set(self.after(5.0))
        self.assertEqual([5], [round(delay, 1) for delay in armed])
