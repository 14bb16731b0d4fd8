"""A pacer that nothing wakes any more, and what notices it."""

from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import Ticker
from vllmsim.scheduling import pacing
from vllmsim.scheduling.alarm import Alarm, DelayedCallAlarm
from vllmsim.scheduling.pacing import TokenPacer
from vllmsim.scheduling.watchdog import INTERVAL, PacerWatchdog


class Deaf:
    """An alarm that never rings."""

    def set(self, deadline: float) -> None:
        """Do nothing."""

    def cancel(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class WatchdogTests(SynchronousTestCase):
    """A pacer that is looked at every second."""

    def setUp(self) -> None:
        """Have the first so many alarms never ring, which are none unless a test says otherwise."""
        self.clock, self.restarts, self.deaf, self.opened = Clock(), 0, 0, 0
        self.patch(pacing, "open_alarm", self.open)
        self.pacer = TokenPacer(self.clock, lambda: None)
        self.watchdog = PacerWatchdog(self.clock, self.pacer, self.count)

    def open(self, clock: Clock, ring: object) -> Alarm:
        """Open an alarm."""
        self.opened += 1
        return Deaf() if self.opened <= self.deaf else DelayedCallAlarm(clock, ring)  # type: ignore[arg-type]

    def count(self) -> None:
        """Count a restart."""
        self.restarts += 1

    def begin(self, deaf: int = 0) -> None:
        """Have the pacer and the watchdog begin."""
        self.deaf = deaf
        self.pacer.start()
        self.watchdog.start()
        self.addCleanup(self.end)

    def end(self) -> None:
        """Have both stop; they leave nothing behind."""
        self.watchdog.stop()
        self.pacer.stop()
        self.assertEqual([], self.clock.getDelayedCalls())

    def add(self, *gaps: float) -> Ticker:
        """Add an emitter that begins after half a second."""
        ticker = Ticker(self.clock, list(gaps), 0.5)
        self.pacer.add(0.5, ticker)
        return ticker

    def lost(self) -> Ticker:
        """Have a pacer go on after it had stopped, and find what the log says of it."""
        ticker = self.add(0.1, 2.0)
        with capturedLogs() as events:
            self.clock.pump([INTERVAL / 4] * 8)
        [event] = [event for event in events if event["log_level"] is LogLevel.critical]
        self.assertIn("The pacer has stopped", str(event["log_format"]))
        return ticker

    def test_mended(self) -> None:
        """Tokens come again within two looks after their alarm was lost, and all later ones in time."""
        self.begin(deaf=1)
        ticker = self.lost()
        self.assertEqual((1, [2 * INTERVAL] * 2), (self.restarts, ticker.emitted))
        self.clock.pump([INTERVAL / 4] * 8)
        self.assertEqual((1, 2.75), (self.restarts, ticker.emitted[-1]))

    def test_lost_call(self) -> None:
        """So they do when the reactor has lost the delayed call."""
        self.begin()
        ticker = self.add()
        [call] = [call for call in self.clock.getDelayedCalls() if call.getTime() == 0.5]
        call.cancel()
        self.clock.pump([INTERVAL / 4] * 8)
        self.assertEqual((1, [2 * INTERVAL]), (self.restarts, ticker.emitted))

    def test_lost_loop(self) -> None:
        """So they do when the pacer's loop has ended, and nobody knows why."""
        self.begin()
        self.pacer._loop.stop()
        ticker = self.add()
        self.clock.pump([INTERVAL / 4] * 8)
        self.assertEqual((1, [2 * INTERVAL]), (self.restarts, ticker.emitted))

    def test_again(self) -> None:
        """A pacer that stops again is mended again."""
        self.begin(deaf=2)
        ticker = self.add(2.5)
        self.clock.pump([INTERVAL / 4] * 20)
        self.assertEqual((2, [2.0, 5.0]), (self.restarts, ticker.emitted))

    def test_no_alarm(self) -> None:
        """Where no alarm can be had the log says so, and the next look but one tries again."""
        self.begin(deaf=1)
        ticker = self.add()
        alarm, alarms = self.open, [OSError("no files are left")]

        def open_late(clock: Clock, ring: object) -> Alarm:
            if alarms:
                raise alarms.pop()
            return alarm(clock, ring)

        self.patch(pacing, "open_alarm", open_late)
        self.clock.pump([INTERVAL / 4] * 16)
        self.assertEqual(1, len(self.flushLoggedErrors(OSError)))
        self.assertEqual((2, [4 * INTERVAL]), (self.restarts, ticker.emitted))

    def test_in_time(self) -> None:
        """A pacer that goes on is left alone: while it is busy, when it rests, and when the reactor was stuck."""
        self.begin()
        ticker = self.add(*[0.3] * 20)
        for step in (0.1, 0.7, INTERVAL, 5 * INTERVAL):
            self.clock.pump([step] * 4)
        self.assertEqual((0, 21), (self.restarts, len(ticker.emitted)))

    def test_unread(self) -> None:
        """So is one whose timer the reactor has not read between two looks, as it was stuck or stopped from one on."""
        self.begin(deaf=1)
        ticker = Ticker(self.clock, [], 0.9999)
        self.pacer.add(0.9999, ticker)
        # The timer is read behind the second look, in the same turn.
        self.clock.advance(INTERVAL)
        self.clock.callLater(INTERVAL, self.pacer._nap.end)
        self.clock.advance(5)
        self.assertEqual((0, [5 + INTERVAL]), (self.restarts, ticker.emitted))

    def test_end_in_doubt(self) -> None:
        """One that is told to stop when it may have stopped leaves nothing behind."""
        self.begin(deaf=1)
        self.add()
        self.clock.advance(INTERVAL)
        self.clock.callLater(INTERVAL, self.watchdog.stop)
        self.clock.advance(INTERVAL)
        self.assertEqual(0, self.restarts)

    def test_always_late(self) -> None:
        """So is one that has always more to do than it has time for."""
        self.begin()
        tickers = [self.add(*[0.001] * 40) for _ in range(3)]
        for ticker in tickers:
            ticker.slow = 0.4
        self.clock.pump([0.01] * 2000)
        self.assertEqual((0, [41] * 3), (self.restarts, [len(ticker.emitted) for ticker in tickers]))

    def test_frozen(self) -> None:
        """So is one that stands still as it was told to, and one whose sequences have left."""
        self.begin(deaf=1)
        self.add()
        self.pacer.freeze()
        self.clock.pump([INTERVAL] * 5)
        self.pacer.thaw()
        self.pacer.discard(self.pacer.add(0.0, Ticker(self.clock, [])))
        self.assertEqual(0, self.restarts)
        self.pacer.stop()
        place = self.pacer.add(0.0, Ticker(self.clock, []))
        self.clock.pump([INTERVAL])
        self.pacer.discard(place)
        self.clock.pump([INTERVAL] * 3)
        self.assertEqual(0, self.restarts)
