"""What is made for the first who asks."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.assembly.once import Once


class OnceTests(SynchronousTestCase):
    """Several who ask."""

    def setUp(self) -> None:
        """Have threads that work when the test says so."""
        self.threads: list[tuple[Deferred[Any], Callable[[], Any]]] = []
        self.made = 0
        self.once: Once[int] = Once(self.defer_to_thread, self.make)

    def defer_to_thread(self, function: Callable[[], Any]) -> Deferred[Any]:
        """Put work off."""
        self.threads.append((Deferred(), function))
        return self.threads[-1][0]

    def make(self) -> int:
        """Make something."""
        self.made += 1
        return self.made

    def work(self) -> None:
        """Do what was put off."""
        done, function = self.threads.pop()
        done.callback(function())

    def test_shared(self) -> None:
        """Who asks while it is made waits for the same, and who asks later has it at once."""
        first, second = self.once(), self.once()
        self.assertNoResult(first)
        self.work()
        results = [self.successResultOf(each) for each in (first, second, self.once(), self.once())]
        self.assertEqual(([1, 1, 1, 1], 1, []), (results, self.made, self.threads))

    def test_left(self) -> None:
        """Who leaves leaves the others waiting, and what is made is there for who comes."""
        first, second = self.once(), self.once()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertNoResult(second)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        third = self.once()
        self.assertEqual(1, len(self.threads))
        self.work()
        self.assertEqual((1, 1), (self.successResultOf(third), self.successResultOf(self.once())))

    def test_failed(self) -> None:
        """An error is told to all who wait; the next who asks has it tried again."""
        first, second = self.once(), self.once()
        self.threads.pop()[0].errback(Failure(OSError("gone")))
        self.failureResultOf(first, OSError)
        self.failureResultOf(second, OSError)
        third = self.once()
        self.work()
        self.assertEqual(1, self.successResultOf(third))
