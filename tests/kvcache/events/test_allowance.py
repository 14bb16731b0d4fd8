"""How many messages may wait."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.kvcache.events.allowance import Allowance


class AllowanceTests(SynchronousTestCase):
    """Four messages of a hundred bytes together."""

    def take(self, *sizes: int) -> list[int]:
        """Learn of messages."""
        allowance = Allowance(4, 100)
        return [allowance.take(size) for size in sizes]

    def test_small(self) -> None:
        """Small messages are bounded by their number."""
        self.assertEqual([4] * 20, self.take(*[25] * 20))

    def test_large(self) -> None:
        """Of large messages there may be as many as have room, and one that has none at all may wait alone."""
        self.assertEqual([4, 4, 2, 2, 2], self.take(*[40] * 5))
        self.assertEqual([1, 1], self.take(1000, 1000))

    def test_change(self) -> None:
        """When messages become larger, fewer may wait; when they become smaller, more and more."""
        self.assertEqual([4, 4, 4, 4, 3, 1, 1, 2, 3, 4, 4], self.take(1, 1, 1, 1, 98, 99, 100, 0, 0, 0, 1))
