"""How KV events become batches."""

from itertools import chain
from typing import Any

import msgpack
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.fakes import TurningClock
from tests.kvcache.recording import EventCounts, RecordingPublisher
from vllmsim.inference import StoredBlocks
from vllmsim.interfaces import IBlockEventPublisher, IBlockListener, ICacheMetrics
from vllmsim.kvcache.events.batching import EventBatcher
from vllmsim.kvcache.events.encoding import BatchEncoder


def digest(number: int) -> bytes:
    """Make a hash that is told as a number."""
    return number.to_bytes(8, "big")


def removal(number: int) -> list[Any]:
    """Say what subscribers are told of a block that is gone."""
    return ["BlockRemoved", [number], "GPU"]


class SlowEncoder(BatchEncoder):
    """Takes a while for each batch."""

    clock: Clock

    def encode(self, time: float, events: Any) -> bytes:
        """Let time pass."""
        self.clock.rightNow += 0.0004
        return super().encode(time, events)


class BatcherTests(SynchronousTestCase):
    """Batches, and when they leave."""

    def setUp(self) -> None:
        """Have a batcher of batches of four, which wait for 10 ms."""
        self.clock, self.metrics, self.publisher = Clock(), EventCounts(), RecordingPublisher()
        self.batcher = self.make()
        self.addCleanup(lambda: self.assertEqual([], self.clock.getDelayedCalls()))

    def make(
        self, size: int = 4, interval: float = 0.01, most: int = 1000, encoder: BatchEncoder | None = None
    ) -> EventBatcher:
        """Make a batcher."""
        encoder = encoder or BatchEncoder(2, 8)
        publishers: list[IBlockEventPublisher] = [self.publisher]
        return EventBatcher(self.clock, lambda: 7.5, encoder, self.metrics, publishers, 8, size, interval, most)

    def remove(self, *numbers: int) -> None:
        """Tell of blocks that are gone."""
        for number in numbers:
            self.batcher.removed(digest(number))

    def test_interfaces(self) -> None:
        """Everyone here keeps its promises."""
        verifyObject(IBlockListener, self.batcher)
        verifyObject(IBlockEventPublisher, self.publisher)
        verifyObject(ICacheMetrics, self.metrics)

    def test_order(self) -> None:
        """Events come in the order in which things happened, with time and rank around them."""
        self.batcher.stored(StoredBlocks([digest(1)], None, tuple(range(8)), [None]))
        self.remove(1)
        self.batcher.cleared()
        self.clock.advance(0.01)
        [(sequence, payload, events)] = self.publisher.batches
        expected = [
            7.5,
            [["BlockStored", [1], None, [*range(8)], 8, None, "GPU", None, None], removal(1), ["AllBlocksCleared"]],
            2,
        ]
        self.assertEqual((0, expected, 3), (sequence, msgpack.unpackb(payload), events))

    def test_interval(self) -> None:
        """A batch that is not full leaves when its first event has waited long enough."""
        self.remove(1)
        self.clock.advance(0.006)
        self.remove(2)
        self.clock.advance(0.0039)
        self.assertEqual([], self.publisher.batches)
        self.clock.advance(0.0002)
        self.assertEqual([[removal(1), removal(2)]], self.publisher.read())
        self.clock.advance(1)
        self.assertEqual([], self.publisher.batches)

    def test_full(self) -> None:
        """Full batches leave with the next turn of the reactor; what is left over waits for more."""
        self.remove(*range(10))
        self.assertEqual([], self.publisher.batches)
        self.clock.advance(0)
        batches = self.publisher.read()
        self.assertEqual([[*map(removal, range(4))], [*map(removal, range(4, 8))]], batches)
        self.clock.advance(0.01)
        self.assertEqual([[removal(8), removal(9)]], self.publisher.read())
        self.assertEqual([4, 4, 2], self.metrics.published)

    def test_full_while_waiting(self) -> None:
        """An event that waits leaves at once when its batch becomes full."""
        self.remove(1)
        self.clock.advance(0.005)
        self.remove(2, 3, 4)
        self.clock.advance(0)
        self.assertEqual([4], [events for _, _, events in self.publisher.batches])

    def test_no_interval(self) -> None:
        """Without an interval, events of one turn leave together at its end."""
        self.batcher = self.make(interval=0)
        for _ in range(2):
            self.remove(1, 2)
            self.assertEqual([], self.publisher.batches)
            self.clock.advance(0)
            self.assertEqual([[removal(1), removal(2)]], self.publisher.read())
        self.remove(1, 2, 3, 4, 5)
        self.clock.pump([0, 0])
        self.assertEqual([4, 1], self.metrics.published[2:])

    def test_sequence(self) -> None:
        """Numbers count up from 0, over batches that are full, due or flushed."""
        self.remove(*range(5))
        self.clock.advance(0)
        self.clock.advance(0.01)
        self.remove(1)
        self.batcher.flush()
        self.assertEqual([0, 1, 2], [number for number, _, _ in self.publisher.batches])

    def test_flush(self) -> None:
        """At the end everything leaves at once, in batches as ever, and nothing is left to do."""
        self.remove(*range(9))
        self.batcher.flush()
        self.assertEqual([4, 4, 1], self.metrics.published)
        self.batcher.flush()
        self.clock.advance(1)
        self.assertEqual([4, 4, 1], self.metrics.published)

    def test_slices(self) -> None:
        """Thousands of events leave over many turns, so that none takes long."""
        self.clock = clock = TurningClock()
        encoder = SlowEncoder(0, 8)
        encoder.clock = self.clock
        self.batcher = self.make(encoder=encoder)
        self.remove(*range(40))
        turns = []
        while clock.getDelayedCalls():
            before = len(self.publisher.batches)
            clock.turn()
            turns.append(len(self.publisher.batches) - before)
        self.assertEqual([3, 3, 3, 1], turns)
        self.assertEqual([removal(number) for number in range(40)], [*chain(*self.publisher.read())])

    def test_bounded_queue(self) -> None:
        """When too many events wait, the next has to wait for a batch to leave; none is lost."""
        self.batcher = self.make(most=6)
        self.remove(*range(6))
        self.assertEqual([], self.publisher.batches)
        self.remove(6)
        self.assertEqual([4], self.metrics.published)
        self.remove(*range(7, 10))
        self.assertEqual([4], self.metrics.published)
        self.remove(*range(10, 20))
        self.batcher.flush()
        self.assertEqual([removal(number) for number in range(20)], [*chain(*self.publisher.read())])
        self.assertEqual(0, self.metrics.dropped)

    def test_short_queue(self) -> None:
        """A queue that is shorter than a batch bounds the batch."""
        self.batcher = self.make(size=16, most=3)
        self.remove(*range(7))
        self.batcher.flush()
        self.assertEqual([3, 3, 1], self.metrics.published)

    def test_long_prompt(self) -> None:
        """A very long prompt is told in several events, each beginning behind the one before."""
        count, size = 5000, 8
        keys = [("salt",) if not number else None for number in range(count)]
        hashes = [digest(number + 1) for number in range(count)]
        self.batcher.stored(StoredBlocks(hashes, digest(0), tuple(range(count * size)), keys))
        self.batcher.flush()
        batches = self.publisher.read()
        self.assertEqual([1, 1], [len(batch) for batch in batches])
        first, second = batches[0][0], batches[1][0]
        self.assertEqual((4096, 904), (len(first[1]), len(second[1])))
        self.assertEqual((0, 4096), (first[2], second[2]))
        self.assertEqual([*range(count * size)], first[3] + second[3])
        self.assertEqual((["salt"], None), (first[8][0], second[8]))

    def test_many_blocks(self) -> None:
        """Events and batches are full with very many blocks too, however few tokens these have."""
        encoder, publishers = BatchEncoder(2, 1), list[IBlockEventPublisher]([self.publisher])
        batcher = EventBatcher(self.clock, lambda: 7.5, encoder, self.metrics, publishers, 1, 100, 0.01, 1000)
        for _ in range(2):
            batcher.stored(StoredBlocks([digest(1)] * 5000, None, range(5000), [None] * 5000))
        batcher.flush()
        self.assertEqual(
            [[4096], [904, 4096], [904]], [[len(each[1]) for each in batch] for batch in self.publisher.read()]
        )

    def test_many_tokens(self) -> None:
        """A batch is full too when its events have very many tokens."""
        blocks = [digest(1)] * 2048
        for _ in range(5):
            self.batcher.stored(StoredBlocks(blocks, None, tuple(range(2048 * 8)), [None] * 2048))
        self.batcher.flush()
        self.assertEqual([2, 2, 1], self.metrics.published)
