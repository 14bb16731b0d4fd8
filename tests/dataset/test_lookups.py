"""Work for a thread."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import in_thread
from vllmsim.dataset.lookups import Lookups


class LookupTests(SynchronousTestCase):
    """What is done, and when."""

    def setUp(self) -> None:
        """Have a thread that works when the test says so."""
        self.turns: list[Callable[[], None]] = []
        self.done: list[int] = []
        self.lookups = Lookups(self.later)

    def later(self, function: Callable[..., None], *arguments: Any) -> Deferred[None]:
        """Run a function at the next turn."""
        deferred: Deferred[None] = Deferred()

        def turn() -> None:
            function(*arguments)
            deferred.callback(None)

        self.turns.append(turn)
        return deferred

    def do(self, number: int) -> int:
        """Be done."""
        self.done.append(number)
        if number < 0:
            raise ValueError(number)
        return number * 2

    def test_gathered(self) -> None:
        """One thread works; what is asked for meanwhile goes to it together, in order, but not too much at once."""
        outcomes = [self.lookups.run(self.do, number) for number in range(30)]
        self.assertEqual(1, len(self.turns))
        self.turns.pop()()
        self.assertEqual(([0], 1), (self.done, len(self.turns)))
        self.turns.pop()()
        self.assertEqual(list(range(17)), self.done)
        self.turns.pop()()
        self.assertEqual([number * 2 for number in range(30)], [self.successResultOf(each) for each in outcomes])
        self.assertEqual((list(range(30)), []), (self.done, self.turns))
        self.assertEqual(14, self.successResultOf(Lookups(in_thread).run(self.do, 7)))

    def test_errors(self) -> None:
        """What one piece raises is told to whoever asked for it, and to nobody else."""
        bad, good = self.lookups.run(self.do, -1), self.lookups.run(self.do, number=2)
        while self.turns:
            self.turns.pop()()
        self.failureResultOf(bad, ValueError)
        self.assertEqual(4, self.successResultOf(good))

    def test_cancelled(self) -> None:
        """What nobody waits for is not done, if it has not begun, and harms nothing if it has."""
        outcomes = [self.lookups.run(self.do, number) for number in range(4)]
        for number in (0, 2):
            outcomes[number].cancel()
            self.failureResultOf(outcomes[number], CancelledError)
        while self.turns:
            self.turns.pop()()
        self.assertEqual([0, 1, 3], self.done)
        self.assertEqual([2, 6], [self.successResultOf(outcomes[number]) for number in (1, 3)])
        first, second = self.lookups.run(self.do, 1), self.lookups.run(self.do, 2)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.turns.pop()()
        self.assertEqual((2, []), (self.successResultOf(first), self.turns))
        self.lookups.run(self.do, 9)
        self.assertEqual(1, len(self.turns))

    def test_no_thread(self) -> None:
        """Where no thread can be had, whoever asked hears of it."""
        lookups = Lookups(lambda *_: fail(RuntimeError("no threads")))
        self.failureResultOf(lookups.run(self.do, 1), RuntimeError)
        self.failureResultOf(lookups.run(self.do, 2), RuntimeError)
