"""Time that stands still until it is moved."""

from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from vllmsim.clocks.simulated import scale_of, work_clock
from vllmsim.clocks.virtual import VirtualClock


class VirtualClockTests(SynchronousTestCase):
    """A clock that somebody moves."""

    def setUp(self) -> None:
        """Make one."""
        self.reactor = Clock()
        self.clock = VirtualClock(self.reactor)
        self.calls: list[object] = []

    def at(self, delay: float, name: object) -> IDelayedCall:
        """Have something be called."""
        return self.clock.callLater(delay, self.calls.append, name)

    def move(self, time: float) -> None:
        """Have it be a time, and the reactor take a turn."""
        self.clock.move(time)
        self.reactor.advance(0)

    def test_stands_still(self) -> None:
        """However long the machine's time goes on, the clock's does not, and nothing is called."""
        verifyObject(IReactorTime, self.clock)
        verifyObject(IReactorTime, self.clock.background)
        verifyObject(IDelayedCall, self.at(1.0, "call"))
        self.reactor.advance(1000.0)
        self.assertEqual((0.0, [], 1.0), (self.clock.seconds(), self.calls, self.clock.next_call))
        self.assertEqual((self.clock, 0.0), (work_clock(self.clock), scale_of(self.clock)))
        self.assertEqual((self.clock, 0.0), (work_clock(self.clock.background), scale_of(self.clock.background)))

    def test_now(self) -> None:
        """What is due at the time that it is happens by itself, and what it has called at once a turn later."""
        self.clock.callLater(0, self.at, 0, "second")
        self.at(0, "first")
        self.assertTrue(self.clock.due)
        self.clock.run_due()
        self.assertEqual(["first"], self.calls)
        self.reactor.advance(0)
        self.assertEqual(["first", "second"], self.calls)
        self.assertFalse(self.clock.due)
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_order(self) -> None:
        """Calls come in the order of their times, and of those of one time first what was asked for first."""
        for delay, name in ((0.2, "c"), (0.1, "a"), (0.2, "d")):
            self.at(delay, name)
        self.clock.background.callLater(0.1, self.calls.append, "b")
        self.assertEqual(4, len(self.clock.getDelayedCalls()))
        self.assertEqual(4, len(self.clock.background.getDelayedCalls()))
        self.clock.move(0.1)
        self.clock.run_due()
        self.assertEqual(["a", "b"], self.calls)
        self.move(0.2)
        self.assertEqual(["a", "b", "c", "d"], self.calls)
        self.assertIsNone(self.clock.next_call)

    def test_background(self) -> None:
        """What goes on in any case is called in its time, and nobody need wait for it."""
        self.clock.background.callLater(1.0, self.calls.append, "log")
        self.assertEqual((1.0, None), (self.clock.next_call, self.clock.next_work))
        self.at(2.0, "token")
        self.assertEqual((1.0, 2.0), (self.clock.next_call, self.clock.next_work))
        self.move(1.0)
        self.assertEqual((["log"], 1.0), (self.calls, self.clock.background.seconds()))

    def test_moved(self) -> None:
        """A call that is put off comes later, one that is brought forward sooner, and each once."""
        later, sooner, now = self.at(1.0, "later"), self.at(3.0, "sooner"), self.at(9.0, "now")
        later.delay(1.0)
        sooner.reset(1.5)
        now.reset(0)
        sooner.reset(2.5)
        sooner.reset(1.5)
        self.assertEqual([0.0, 1.5, 2.0], sorted(each.getTime() for each in self.clock.getDelayedCalls()))
        self.reactor.advance(0)
        self.move(1.0)
        self.assertEqual(["now"], self.calls)
        self.move(1.5)
        self.move(2.0)
        self.move(9.0)
        self.assertEqual(["now", "sooner", "later"], self.calls)

    def test_over(self) -> None:
        """A call that has come, or is cancelled, cannot be moved any more."""
        cancelled, called = self.at(1.0, "cancelled"), self.at(1.0, "called")
        cancelled.cancel()
        self.assertEqual((False, True), (cancelled.active(), called.active()))
        self.move(1.0)
        self.assertEqual((["called"], False), (self.calls, called.active()))
        self.assertRaises(AlreadyCancelled, cancelled.reset, 1)
        self.assertRaises(AlreadyCalled, called.cancel)

    def test_failing(self) -> None:
        """A call that fails is logged, and the others come all the same."""

        def fail() -> None:
            raise RuntimeError("broken")

        self.clock.callLater(1.0, fail)
        self.at(1.0, "other")
        self.move(1.0)
        self.assertEqual(["other"], self.calls)
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))
