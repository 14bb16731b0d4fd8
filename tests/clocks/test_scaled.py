"""Time that goes faster than the machine's, or slower."""

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import Clock, LoopingCall
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from vllmsim.clocks.scaled import ScaledClock
from vllmsim.clocks.simulated import scale_of, work_clock


class ScaledClockTests(SynchronousTestCase):
    """A clock that is ten times as fast."""

    def setUp(self) -> None:
        """Have the machine's time have gone on before."""
        self.reactor = Clock()
        self.reactor.advance(3.0)
        self.clock = ScaledClock(self.reactor, 10.0)
        self.calls: list[object] = []

    def test_time(self) -> None:
        """Ten seconds pass in a second, from 0 on."""
        verifyObject(IReactorTime, self.clock)
        self.assertEqual(0.0, self.clock.seconds())
        self.reactor.advance(0.5)
        self.assertEqual(5.0, self.clock.seconds())
        self.assertEqual((5.0, 3.5), (self.clock.time_at(3.5), self.clock.real_at(5.0)))

    def test_calls(self) -> None:
        """A call comes when its time is there, wherever it has been put meanwhile."""
        call = self.clock.callLater(20.0, self.calls.append, "called")
        verifyObject(IDelayedCall, call)
        self.assertEqual(20.0, call.getTime())
        self.assertEqual([20.0], [each.getTime() for each in self.clock.getDelayedCalls()])
        self.reactor.advance(1.0)
        call.delay(5.0)
        self.assertEqual(25.0, call.getTime())
        call.reset(8.0)
        self.reactor.advance(0.79)
        self.assertEqual(([], True), (self.calls, call.active()))
        self.reactor.advance(0.02)
        self.assertEqual((["called"], False), (self.calls, call.active()))

    def test_cancelled(self) -> None:
        """A call that is cancelled never comes."""
        self.clock.callLater(1.0, self.calls.append, "called").cancel()
        self.reactor.advance(1.0)
        self.assertEqual([], self.calls)

    def test_loop(self) -> None:
        """A loop at an interval keeps it in the clock's seconds."""
        loop = LoopingCall(lambda: self.calls.append(self.clock.seconds()))
        loop.clock = self.clock
        loop.start(2.0)
        self.reactor.pump([0.2] * 3)
        loop.stop()
        self.assertEqual([0.0, 2.0, 4.0, 6.0], [round(time, 6) for time in self.calls])  # type: ignore[call-overload]

    def test_work(self) -> None:
        """Work takes the machine's time."""
        self.assertEqual((self.reactor, 10.0), (work_clock(self.clock), scale_of(self.clock)))
        self.assertEqual((self.reactor, 1.0), (work_clock(self.reactor), scale_of(self.reactor)))
