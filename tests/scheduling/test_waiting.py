"""The waiting queue."""

from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.errors import QueueFull
from vllmsim.scheduling.sequence import Sequence
from vllmsim.scheduling.waiting import WaitingQueue


def sequences(count: int) -> list[Sequence]:
    """Make things to queue."""
    return [cast("Sequence", object()) for _ in range(count)]


class WaitingQueueTests(SynchronousTestCase):
    """First come, first served, up to a bound."""

    def setUp(self) -> None:
        """Make a queue for two."""
        self.queue = WaitingQueue(2)

    def test_order(self) -> None:
        """Sequences leave in the order in which they came."""
        first, second = sequences(2)
        self.queue.put(first)
        self.queue.put(second)
        self.assertEqual([first, second], [self.successResultOf(self.queue.take()) for _ in range(2)])

    def test_takers_wait(self) -> None:
        """Who takes from an empty queue gets the next sequence that comes, in turn."""
        [sequence] = sequences(1)
        first, second = self.queue.take(), self.queue.take()
        self.queue.put(sequence)
        self.assertIs(sequence, self.successResultOf(first))
        self.assertNoResult(second)
        self.assertEqual(0, len(self.queue))

    def test_a_taker_gives_up(self) -> None:
        """A taker that is cancelled takes no sequence with it."""
        [sequence] = sequences(1)
        gone: Any = self.queue.take()
        gone.addErrback(lambda _: None)
        gone.cancel()
        self.queue.put(sequence)
        self.assertEqual(1, len(self.queue))

    def test_bound(self) -> None:
        """The bound counts those who would have to wait, not those for whom a slot is free."""
        self.queue.require_room(3, free_slots=1)
        self.assertRaises(QueueFull, self.queue.require_room, 4, 1)
        for sequence in sequences(2):
            self.queue.put(sequence)
        self.assertRaises(QueueFull, self.queue.require_room, 1, 0)
        self.queue.require_room(2, free_slots=2)

    def test_discard(self) -> None:
        """A sequence can leave from anywhere, once."""
        first, second = sequences(2)
        self.queue.put(first)
        self.queue.put(second)
        self.assertEqual((True, False), (self.queue.discard(second), self.queue.discard(second)))
        self.assertIs(first, self.successResultOf(self.queue.take()))
