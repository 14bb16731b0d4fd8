"""Simulated time, told and moved."""

from collections.abc import Awaitable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from vllmsim.clocks.clocks import make_clocks
from vllmsim.clocks.virtual import VirtualClock
from vllmsim.errors import Conflict
from vllmsim.interfaces import ITimeControl
from vllmsim.scheduling.timecontrol import TimeControl


class TimeControlTests(SynchronousTestCase):
    """Time that is moved, and requests that have come as the test says."""

    def setUp(self) -> None:
        """Make a virtual clock."""
        self.reactor = Clock()
        self.clocks = make_clocks("virtual", 1.0, self.reactor)
        assert isinstance(self.clocks.simulated, VirtualClock)
        self.clock: VirtualClock = self.clocks.simulated
        self.control = TimeControl(self.clocks)
        self.came = self.unfinished = 0
        self.control.enlist(lambda: self.came, lambda: self.unfinished)
        self.calls: list[object] = []

    def run_turns(self, seconds: float = 0.0) -> None:
        """Have the reactor take some turns in so many seconds."""
        self.reactor.pump([0.0] * 8 + [seconds] + [0.0] * 8)

    def begin(self, moving: Awaitable[None]) -> Deferred[None]:
        """Begin to move time, and have the reactor take some turns."""
        begun: Deferred[None] = Deferred.fromCoroutine(moving)  # type: ignore[arg-type]
        self.run_turns()
        return begun

    def advance(self, seconds: float, requests: int = 0, timeout: float = 60.0) -> Deferred[None]:
        """Begin to advance."""
        return self.begin(self.control.advance(seconds, requests, timeout))

    def idle(self, limit: float = 100.0, timeout: float = 60.0) -> Deferred[None]:
        """Begin to run until nothing is to come."""
        return self.begin(self.control.run_until_idle(limit, 0, timeout))

    def call(self, delay: float) -> None:
        """Have it be remembered when a call has come."""
        self.clock.callLater(delay, lambda: self.calls.append(self.clock.seconds()))

    def test_told(self) -> None:
        """What time it is, how fast it goes and how many requests have come is told for every clock."""
        verifyObject(ITimeControl, self.control)
        self.came, self.unfinished = 3, 1
        self.successResultOf(self.advance(2.5))
        told = {"clock": "virtual", "time_scale": 0.0, "now": 2.5, "time": 1767225602.5}
        self.assertEqual({**told, "requests": 3, "unfinished": 1}, self.control.describe())
        self.reactor.advance(100.0)
        control = TimeControl(make_clocks("real", 1.0, self.reactor, lambda: 7.0))
        self.reactor.advance(2.0)
        told = {"clock": "real", "time_scale": 1.0, "now": 2.0, "time": 7.0}
        self.assertEqual({**told, "requests": 0, "unfinished": 0}, control.describe())

    def test_advance(self) -> None:
        """Time goes from one event to the next, what they lead to among them, and comes to where it was to."""
        self.call(0.3)
        self.clock.callLater(0.1, self.call, 0.1)
        self.clock.callLater(0.1, self.call, 0.0)
        self.call(0.6)
        self.successResultOf(self.advance(0.5))
        self.assertEqual(([0.1, 0.2, 0.3], 0.5), (self.calls, self.clock.seconds()))
        self.successResultOf(self.advance(0.0))
        self.assertEqual(0.5, self.clock.seconds())

    def test_threads(self) -> None:
        """Time waits for what is done in threads, and for what comes of that, before the next event."""
        answers: list[Deferred[None]] = []

        def work() -> Deferred[None]:
            answers.append(Deferred())
            return answers[-1]

        defer = self.clocks.standstill.counted(lambda function: function())
        self.clock.callLater(0.1, lambda: defer(work).addCallback(lambda _: self.call(0.1)))
        self.call(0.3)
        moving = self.advance(1.0)
        self.assertNoResult(moving)
        self.assertEqual(([], 0.1), (self.calls, self.clock.seconds()))
        answers[0].callback(None)
        self.run_turns()
        self.successResultOf(moving)
        self.assertEqual([0.2, 0.3], [round(time, 9) for time in self.calls])  # type: ignore[call-overload]

    def test_requests(self) -> None:
        """Time waits for requests that somebody says are to come."""
        moving = self.advance(1.0, requests=2)
        self.came = 1
        self.run_turns(0.01)
        self.assertNoResult(moving)
        self.came = 2
        self.run_turns(0.01)
        self.successResultOf(moving)
        self.assertEqual(1.0, self.clock.seconds())

    def test_several(self) -> None:
        """Who comes while another moves time has the next turn, and one who leaves gives theirs to the next."""
        first, second, third = self.advance(1.0, requests=1), self.advance(2.0), self.advance(4.0)
        for each in (first, second, third):
            self.assertNoResult(each)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.run_turns()
        self.successResultOf(second)
        self.successResultOf(third)
        self.assertEqual(6.0, self.clock.seconds())

    def test_late(self) -> None:
        """Who has waited for as long as they would is told what for, and time can be moved again."""
        late = self.advance(1.0, requests=5, timeout=2.0)
        self.run_turns(2.0)
        self.assertIn("0 of 5 requests have come.", self.failureResultOf(late, Conflict).getErrorMessage())
        with self.clocks.standstill:
            late = self.advance(1.0, timeout=2.0)
            self.run_turns(2.0)
            self.assertIn("done in threads (1)", self.failureResultOf(late, Conflict).getErrorMessage())
        self.successResultOf(self.advance(1.0))
        self.assertEqual(1.0, self.clock.seconds())

    def test_idle(self) -> None:
        """Time goes on for as long as requests have something to come, and not for what comes in any case."""
        self.clock.callLater(0.5, self.call, 1.0)
        self.clock.background.callLater(1.0, self.calls.append, "log")
        self.clock.background.callLater(2.0, self.calls.append, "log")
        self.successResultOf(self.idle())
        self.assertEqual((["log", 1.5], 1.5), (self.calls, self.clock.seconds()))
        self.successResultOf(self.idle(limit=0.0))

    def test_limit(self) -> None:
        """Requests that have something to come after the limit are told of, and time has not gone on to that."""
        self.unfinished = 7
        self.call(3.0)
        self.call(12.0)
        message = self.failureResultOf(self.idle(limit=5.0), Conflict).getErrorMessage()
        self.assertIn("request is at 12.000000 s, and the limit was 5.000000 s: 7 requests are unfinished", message)
        self.assertEqual(([3.0], 3.0), (self.calls, self.clock.seconds()))

    def test_real(self) -> None:
        """Time that goes on by itself is not moved."""
        control = TimeControl(make_clocks("real", 10.0, self.reactor))
        for moving in (control.advance(1.0, 0, 1.0), control.run_until_idle(1.0, 0, 1.0)):
            self.failureResultOf(Deferred.fromCoroutine(moving), Conflict)
        control.run_on()
        control.stop()
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_run_on(self) -> None:
        """At the end time goes on for the requests that are there, for as long as it is not stopped."""
        self.call(3.0)
        self.control.run_on()
        self.control.run_on()
        self.run_turns()
        self.assertEqual(([3.0], 3.0), (self.calls, self.clock.seconds()))
        self.control.stop()
        self.control = TimeControl(self.clocks)
        with self.clocks.standstill:
            self.call(3.0)
            self.control.run_on()
            self.control.stop()
        self.run_turns()
        self.assertEqual(3.0, self.clock.seconds())
