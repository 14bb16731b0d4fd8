"""Blocks that are used and that no sequence has."""

from twisted.internet.task import Clock

from tests.kvcache.fakes import RecordingCacheMetrics
from tests.kvcache.test_cache import CacheTestCase
from vllmsim.inference import StoredBlocks
from vllmsim.kvcache.pool import BlockPool
from vllmsim.kvcache.pressure import Pressure


class SlowClock(Clock):
    """Takes a millisecond to be looked at."""

    def seconds(self) -> float:
        """Tell the time, and let some go by."""
        self.rightNow += 0.001
        return self.rightNow


class PressureTests(CacheTestCase):
    """Twenty blocks of four tokens; sequences are never longer than five."""

    def setUp(self) -> None:
        """Have a cache."""
        self.have(20)
        self.squeeze(20)

    def squeeze(self, longest: int) -> None:
        """Have a cache whose sequences are so long at most, in tokens."""
        self.cache = type(self.cache)(self.clock, self.pool, 4, self.hasher, self.metrics, longest=longest)

    def test_used(self) -> None:
        """They count as used, and are free again when they are given back."""
        for share, used in ((0.5, 10), (0.75, 15), (0.1, 2), (0, 0)):
            self.assertEqual(share, self.cache.occupy(share))
            self.assertEqual((used, 0, 20), self.metrics.counts)
            self.clock.advance(0)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_longest(self) -> None:
        """Never so many that the longest sequence would not find room: it runs, whatever was asked for."""
        self.assertEqual((0.75, 15), (self.cache.occupy(1.0), self.pool.used))
        self.successResultOf(self.ask(16, 5)).release()
        self.squeeze(77)
        self.assertEqual(0, self.cache.occupy(0.5))
        self.squeeze(76)
        self.assertEqual(0.05, self.cache.occupy(0.5))

    def test_not_told(self) -> None:
        """Where nobody says how long sequences are, one may take everything, and nothing can be used by nobody."""
        self.have(20)
        self.assertEqual((0, 0), (self.cache.occupy(1.0), self.pool.used))

    def test_forgotten(self) -> None:
        """What holds nothing is used first, then what was used least recently; that is forgotten."""
        self.start(20)
        self.start(20, first=50)
        self.listener.take()
        self.cache.occupy(0.5)
        self.assertEqual([], self.listener.take())
        self.cache.occupy(0.65)
        ends = [event[1].rpartition(b"/")[2] for event in self.listener.take() if event[0] == "removed"]
        self.assertEqual([b"17,18,19,20", b"13,14,15,16", b"9,10,11,12"], ends)
        self.assertEqual(8, self.start(20).cached)

    def test_as_they_leave(self) -> None:
        """Blocks that sequences have are used by nobody when they are given back, before anyone else gets them."""
        first, second = self.successResultOf(self.ask(20)), self.successResultOf(self.ask(20, first=50))
        third = self.successResultOf(self.ask(20, first=80))
        self.assertEqual(0.75, self.cache.occupy(0.75))
        self.assertEqual(20, self.pool.used)
        waiting = self.ask(4, first=200)
        first.release()
        # Nobody gets in between, also who comes now.
        self.assertNoResult(waiting)
        self.clock.advance(0)
        self.assertEqual((20, 1), (self.pool.used, self.cache.waiting))
        second.release()
        self.clock.advance(0)
        self.assertNoResult(waiting)
        third.release()
        self.clock.advance(0)
        self.assertEqual((16, 0), (self.pool.used, self.cache.waiting))
        self.successResultOf(waiting).release()
        self.assertEqual(15, self.pool.used)

    def test_who_comes_now(self) -> None:
        """Who comes just when a sequence leaves waits too, if what it leaves is to be used by nobody."""
        first = self.successResultOf(self.ask(20))
        second = self.successResultOf(self.ask(20, 31, first=50))
        self.cache.occupy(0.75)
        first.release()
        coming = self.ask(4, first=200)
        self.assertNoResult(coming)
        self.clock.advance(0)
        self.assertNoResult(coming)
        second.release()
        self.clock.advance(0)
        self.successResultOf(coming)

    def test_promised(self) -> None:
        """What a running sequence will need is left to it, so that it comes to its end."""
        blocks = self.successResultOf(self.ask(1, 20))
        self.squeeze(4)
        self.assertEqual(0.95, self.cache.occupy(1.0))
        self.assertEqual((16, 0), (self.pool.used, self.pool.room))
        blocks.grow(20)
        self.assertEqual(20, self.pool.used)

    def test_given_back(self) -> None:
        """Who waits is let in when blocks are given back."""
        self.cache.occupy(0.75)
        turns = [self.ask(20, first=first) for first in (1, 100, 200)]
        self.assertEqual([True, False, False], [turn.called for turn in turns])
        self.cache.occupy(0.5)
        self.assertEqual([True, False, False], [turn.called for turn in turns])
        self.clock.advance(0)
        self.assertEqual([True, True, False], [turn.called for turn in turns])
        self.cache.occupy(0)
        self.clock.advance(0)
        self.assertEqual([True] * 3, [turn.called for turn in turns])

    def test_reset(self) -> None:
        """The prefix cache can be reset all the same, as no sequence runs; nobody's blocks stay nobody's."""
        self.start(80)
        self.cache.occupy(0.5)
        self.assertTrue(self.cache.reset(running=False))
        self.assertEqual((10, 0), (self.pool.used, self.pool.cached))
        blocks = self.successResultOf(self.ask(20))
        self.assertFalse(self.cache.reset(running=False))
        blocks.release()
        self.cache.occupy(0)
        self.assertEqual((0, 20), (self.pool.used, self.pool.room))


class ManyBlocksTests(CacheTestCase):
    """Where there are very many."""

    def test_never_used(self) -> None:
        """Blocks that were never used cost nothing: of a million millions a half can be used at once."""
        self.have(10**12)
        pressure = Pressure(self.clock, self.pool, 10**12)
        self.assertEqual(0.5, pressure.want(0.5))
        self.assertTrue(pressure.settle(0.0))
        self.assertEqual((5 * 10**11, 5 * 10**11), (self.pool.used, self.pool.room))
        pressure.want(0)
        self.assertTrue(pressure.settle(0.0))
        self.assertEqual((0, 10**12), (self.pool.used, self.pool.room))

    def test_in_turns(self) -> None:
        """Others are taken, and given back, some hundreds at a time, and other events come in between."""
        metrics = RecordingCacheMetrics()
        pool = BlockPool(3000, metrics)
        pool.promise(3000)
        blocks = pool.take(3000)
        pool.store(blocks, StoredBlocks([b"%d" % block for block in blocks], None, (), [None] * 3000))
        pool.release(blocks, 0)
        clock = SlowClock()
        pressure = Pressure(clock, pool, 3000)
        for share, sizes in ((1.0, [768, 1536, 2304, 3000]), (0.5, [2232, 1500])):
            pressure.want(share)
            seen: list[int] = []
            while not seen or not pressure.settled:
                settled = pressure.settle(clock.rightNow + 0.0035)
                seen.append(pool.used)
                self.assertEqual((pressure.settled, pool.used), (settled, metrics.counts[0] if metrics.counts else 0))
            self.assertEqual(sizes, seen)
