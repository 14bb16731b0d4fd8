"""How long blocks live."""

import random

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.kvcache.fakes import RecordingCacheMetrics
from vllmsim.kvcache.lives import BlockLives


class BlockLivesTests(SynchronousTestCase):
    """A life is told when it is over."""

    def setUp(self) -> None:
        """Measure every block."""
        self.clock, self.metrics = Clock(), RecordingCacheMetrics()
        self.lives = self.measure(1.0)

    def measure(self, share: float) -> BlockLives:
        """Measure a share of blocks."""
        return BlockLives(self.clock, share, random.Random(7), self.metrics)

    def test_life(self) -> None:
        """A life lasts from one content to the next, is idle since its last use, and has gaps between uses."""
        self.lives.take([1, 2])
        for seconds in (1, 2, 4):
            self.clock.advance(seconds)
            self.lives.use([1])
        self.clock.advance(8)
        self.lives.take([1, 3])
        self.assertEqual([(15, 8, [2, 4])], self.metrics.evicted)
        self.clock.advance(1)
        self.lives.take([2, 1])
        self.assertEqual([(16, 16, []), (1, 1, [])], self.metrics.evicted[1:])

    def test_many_uses(self) -> None:
        """Of a block that is used over and over the gaps between its last four uses are told."""
        self.lives.take([1])
        for seconds in range(1, 10):
            self.clock.advance(seconds)
            self.lives.use([1])
        self.lives.take([1])
        self.assertEqual([(45, 0, [7, 8, 9])], self.metrics.evicted)

    def test_share(self) -> None:
        """On a share of blocks about so many are measured, and on a share of nothing none."""
        for share, least, most in ((0.0, 0, 0), (0.25, 200, 300), (1.0, 1000, 1000)):
            lives = self.measure(share)
            lives.take(range(1000))
            lives.take(range(1000))
            self.assertTrue(least <= len(self.metrics.evicted) <= most, len(self.metrics.evicted))
            self.metrics.evicted.clear()

    def test_clear(self) -> None:
        """Lives that a reset interrupts are not told."""
        self.lives.take([1])
        self.lives.clear()
        self.lives.use([1])
        self.lives.take([1])
        self.assertEqual([], self.metrics.evicted)
