"""Work of many on the reactor."""

from collections.abc import Iterator

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import TurningClock
from vllmsim.shifts import SHIFT, Shifts


class ShiftTests(SynchronousTestCase):
    """Who works when."""

    def setUp(self) -> None:
        """Have a clock that moves while someone works."""
        self.clock = TurningClock()
        self.shifts = Shifts(self.clock)
        self.done: list[str] = []
        self.addCleanup(lambda: self.assertEqual([], self.clock.getDelayedCalls()))

    def steps(self, name: str, count: int, shifts: float) -> Iterator[None]:
        """Take steps that each are a part of a shift."""
        for number in range(count):
            self.clock.rightNow += SHIFT * shifts
            self.done.append(f"{name}{number}")
            yield

    def run_steps(self, name: str, count: int, shifts: float = 0.4) -> Deferred[None]:
        """Begin to take steps."""
        return Deferred.fromCoroutine(self.shifts.run(self.steps(name, count, shifts)))

    def test_short(self) -> None:
        """Who has little to do is done at once."""
        self.successResultOf(self.run_steps("a", 2))
        self.successResultOf(self.run_steps("b", 0))
        self.assertEqual(["a0", "a1"], self.done)

    def test_long(self) -> None:
        """Who has much to do lets others in when a shift is over."""
        working = self.run_steps("a", 5)
        self.assertEqual(["a0", "a1", "a2"], self.done)
        self.assertNoResult(working)
        self.clock.turn()
        self.successResultOf(working)
        self.assertEqual(["a0", "a1", "a2", "a3", "a4"], self.done)

    def test_many(self) -> None:
        """Many who have little to do hold the reactor no longer than one who has much; the first come first."""
        working = [self.run_steps(name, 1) for name in "abcdef"]
        self.assertEqual(["a0", "b0", "c0"], self.done)
        self.clock.turn()
        self.assertEqual(["a0", "b0", "c0", "d0", "e0", "f0"], self.done)
        self.clock.turn()
        for each in working:
            self.successResultOf(each)

    def test_in_turns(self) -> None:
        """Those who have much to do take turns, one in each turn of the reactor; who comes later waits too."""
        first, second = self.run_steps("a", 3, 1), self.run_steps("b", 1, 1)
        self.assertEqual(["a0"], self.done)
        self.clock.turn()
        self.assertEqual(["a0", "a1"], self.done)
        third = self.run_steps("c", 1, 0.1)
        for _ in range(3):
            self.clock.turn()
        self.assertEqual(["a0", "a1", "b0", "a2", "c0"], self.done)
        self.clock.turn()
        for each in (first, second, third):
            self.successResultOf(each)

    def test_afterwards(self) -> None:
        """Those who are done and go on with something else that takes long do so one in each turn of the reactor."""

        def go_on(_: None) -> None:
            self.clock.rightNow += SHIFT
            self.done.append("went on")

        self.run_steps("a", 1, 1)
        for name in "bc":
            self.run_steps(name, 1, 0.1).addCallback(go_on)
        self.clock.turn()
        self.assertEqual(["a0", "b0", "went on"], self.done)
        self.clock.turn()
        self.assertEqual(["a0", "b0", "went on", "c0", "went on"], self.done)

    def test_cancel(self) -> None:
        """Who gives up takes no more steps, and nobody waits for it; when all have, nothing is left to be done."""
        working = [self.run_steps(name, 2, 1) for name in "abc"]
        working[1].cancel()
        self.failureResultOf(working[1], CancelledError)
        self.clock.turn()
        self.clock.turn()
        self.assertEqual(["a0", "a1", "c0"], self.done)
        for each in (working[0], working[2]):
            each.cancel()
            self.failureResultOf(each, CancelledError)
        self.assertEqual([], self.clock.getDelayedCalls())
        self.successResultOf(Deferred.fromCoroutine(self._later()))

    async def _later(self) -> None:
        waiting = Deferred.fromCoroutine(self.shifts.run(self.steps("d", 1, 0.1)))
        self.clock.turn()
        await waiting

    def test_failure(self) -> None:
        """A step that fails is the failure of who wanted it, and of nobody else."""

        def failing() -> Iterator[None]:
            self.clock.rightNow += SHIFT
            raise ValueError
            yield

        self.failureResultOf(Deferred.fromCoroutine(self.shifts.run(failing())), ValueError)
        waiting = self.run_steps("a", 1)
        self.assertNoResult(waiting)
        self.clock.turn()
        self.successResultOf(waiting)
