"""The batches of KV events that are read in the process of their rank."""

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.kvcache.recording import EventCounts, RecordingPublisher
from vllmsim.inference import StoredBlocks
from vllmsim.interfaces import IBlockEventLog, IBlockEventPublisher
from vllmsim.kvcache.events import log as room
from vllmsim.kvcache.events.batching import EventBatcher
from vllmsim.kvcache.events.encoding import BatchEncoder
from vllmsim.kvcache.events.log import BlockEventLog
from vllmsim.kvcache.events.window import ReplayWindow


def digest(number: int) -> bytes:
    """Make a hash."""
    return number.to_bytes(8, "big")


class LogTests(SynchronousTestCase):
    """What is kept, and who hears of it."""

    def setUp(self) -> None:
        """Have a log of three batches, of one event each."""
        self.clock, self.news = Clock(), 0
        self.addCleanup(lambda: self.assertEqual([], self.clock.getDelayedCalls()))

    def make(self, *publishers: IBlockEventPublisher, window: ReplayWindow | None = None, steps: int = 3) -> None:
        """Make a log."""
        encoder = BatchEncoder(2, 1, True)
        everyone: list[IBlockEventPublisher] = [*([] if window is None else [window]), *publishers]
        self.metrics = EventCounts()
        self.batcher = EventBatcher(self.clock, lambda: 7.5, encoder, self.metrics, everyone, 1, 1, 0, 100)
        self.log = BlockEventLog(2, 1, lambda: 7.5, steps, self.batcher, window)

    def store(self, *numbers: int) -> None:
        """Store blocks of one token, each in a batch of its own."""
        for number in numbers:
            self.batcher.stored(StoredBlocks([digest(number)], None, [number], [None]))
        self.clock.advance(0)

    def watch(self) -> Callable[[], None]:
        """Count news."""

        def told() -> None:
            self.news += 1

        return self.log.watch(told)

    def read(self) -> list[tuple[int, int]]:
        """Read all that is kept: numbers of batches, and of the block in each."""
        found = []
        for sequence in range(self.log.begin, self.log.end):
            batch = self.log.read(sequence)
            [event] = batch.events
            assert isinstance(event, StoredBlocks)
            self.assertEqual((sequence, 7.5), (batch.sequence, batch.time))
            found.append((sequence, int.from_bytes(event.hashes[0], "big")))
        return found

    def test_interfaces(self) -> None:
        """A log keeps its promises."""
        self.make()
        verifyObject(IBlockEventLog, self.log)
        verifyObject(IBlockEventPublisher, self.log)

    def test_kept(self) -> None:
        """Who watches hears of each batch, which can be read until there were enough others."""
        self.make()
        leave = self.watch()
        self.assertEqual([], self.read())
        self.store(1, 2)
        self.assertEqual(([(0, 1), (1, 2)], 2), (self.read(), self.news))
        self.store(3, 4, 5)
        self.assertEqual(([(2, 3), (3, 4), (4, 5)], 5), (self.read(), self.news))
        leave()
        leave()
        self.store(6)
        self.assertEqual(([(3, 4), (4, 5), (5, 6)], 5), (self.read(), self.news))

    def test_numbers(self) -> None:
        """Batches have the numbers under which they are published, from before anybody reads here."""
        published = RecordingPublisher()
        self.make(published)
        self.store(1, 2)
        self.watch()
        self.store(3)
        self.assertEqual([(2, 3)], self.read())
        self.assertEqual([0, 1, 2], [sequence for sequence, _, _ in published.batches])
        self.assertEqual(2, self.log.picture().unknown)

    def test_unread(self) -> None:
        """Where nobody else publishes, nothing is written before somebody reads, and numbers tell that there was."""
        self.make()
        self.store(1, 2)
        self.assertEqual([], self.metrics.published)
        self.watch()
        self.store(3)
        self.assertEqual(([(2, 3)], [1]), (self.read(), self.metrics.published))
        self.assertEqual((2, 1, 2), self.picture())

    def picture(self) -> tuple[int, int, int]:
        """Tell the number of the last batch in the picture, how many blocks it has, and how many batches it lacks."""
        picture = self.log.picture()
        self.assertEqual(picture.blocks, len([*picture.stored]))
        return picture.sequence, picture.blocks, picture.unknown

    def test_picture(self) -> None:
        """What all batches have left is remembered as blocks, so that who begins with them has missed nothing yet."""
        self.make()
        self.watch()
        self.store(1, 2, 3, 4, 5, 6)
        self.assertEqual((5, 6, 0), self.picture())
        self.batcher.removed(digest(1))
        self.store(7, 8, 9)
        self.assertEqual((9, 8, 0), self.picture())
        self.assertEqual([(7, 7), (8, 8), (9, 9)], self.read())

    def test_window(self) -> None:
        """What is kept for those who ask for batches once more is there for the first reader."""
        self.make(RecordingPublisher(), window=ReplayWindow(4))
        self.store(1, 2)
        self.watch()
        self.assertEqual([(0, 1), (1, 2)], self.read())
        self.store(3, 4, 5)
        self.assertEqual([(1, 2), (2, 3), (3, 4), (4, 5)], self.read())
        self.assertEqual((4, 5, 0), self.picture())

    def test_many_before(self) -> None:
        """Of batches that were kept before anybody watched, the blocks are learned bit by bit, and none is left out."""
        self.make(RecordingPublisher(), window=ReplayWindow(8))
        self.store(*range(10))
        self.watch()
        told = [self.picture()]
        for number in range(10, 20):
            self.store(number)
            told.append(self.picture())
        last = [1, 4, 6, 8, 10, 12, 14, 16, 17, 18, 19]
        self.assertEqual([(each, each - 1, 2) for each in last], told)

    def test_close(self) -> None:
        """At the end what waits is there, and everyone is told that nothing more will be."""
        self.make()
        self.watch()
        self.batcher.stored(StoredBlocks([digest(1)], None, [1], [None]))
        self.log.close()
        self.log.close()
        self.assertEqual(([(0, 1)], 2, True), (self.read(), self.news, self.log.closed))

    def test_size(self) -> None:
        """Batches that are large together are kept for less long."""
        self.patch(room, "_MOST_BYTES", 500)
        self.make(steps=100)
        self.watch()
        self.store(*range(50))
        self.assertTrue(1 < len(self.read()) < 10)
        self.assertEqual(50, self.log.picture().blocks)
