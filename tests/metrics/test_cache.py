"""KV blocks in numbers."""

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from vllmsim.interfaces import ICacheMetrics
from vllmsim.metrics.families import RankMetrics


class CacheMetricsTests(SynchronousTestCase):
    """What happens to blocks is counted."""

    def setUp(self) -> None:
        """Have the metrics of a rank with a cache."""
        rank = RankMetrics("0", "m1", 256, {}, 0.0, blocks=True, block_lives=True)
        self.families, self.own, self.cache = rank.families, rank.own, rank.cache

    def read(self, name: str) -> dict[str, float]:
        """Read the samples of a name, by the labels that are not everyone's."""
        samples = {}
        for line in (self.families.write([name]) + self.own.write([name])).splitlines():
            if not line.startswith("#"):
                key, _, value = line.rpartition(" ")
                labels = key.partition("{")[2].rstrip("}").replace('engine="0"', "").replace('model_name="m1"', "")
                samples[labels.strip(",")] = float(value)
        return samples

    def test_provides(self) -> None:
        """It hears of everything that happens to blocks."""
        verifyObject(ICacheMetrics, self.cache)

    def test_blocks(self) -> None:
        """Usage is the share of blocks that sequences have, whatever else the cache can find."""
        self.cache.blocks_counted(used=3, cached=9, usable=12)
        self.assertEqual({"": 0.25}, self.read("vllm:kv_cache_usage_perc"))
        self.assertEqual({"": 0.25}, self.read("vllm:gpu_cache_usage_perc"))
        self.assertEqual({'state="used"': 3, 'state="cached"': 9}, self.read("vllmsim:kv_blocks"))

    def test_lookups(self) -> None:
        """Lookups are counted in tokens, here and outside apart."""
        self.cache.prefix_looked_up(22, 16)
        self.cache.prefix_looked_up(10, 0)
        self.cache.external_looked_up(6, 4)
        for name, count in (("prefix_cache_queries", 32), ("prefix_cache_hits", 16)):
            self.assertEqual({"": count}, self.read(f"vllm:{name}_total"))
        for name, count in (("prefix_cache_queries", 6), ("prefix_cache_hits", 4)):
            self.assertEqual({"": count}, self.read(f"vllm:external_{name}_total"))

    def test_lives(self) -> None:
        """A block's life is observed when it ends."""
        self.cache.block_evicted(10.0, 4.0, [1.0, 5.0])
        sums = {"lifetime": (1, 10), "idle_before_evict": (1, 4), "reuse_gap": (2, 6)}
        for name, (count, total) in sums.items():
            self.assertEqual({"": count}, self.read(f"vllm:kv_block_{name}_seconds_count"))
            self.assertEqual({"": total}, self.read(f"vllm:kv_block_{name}_seconds_sum"))

    def test_recent(self) -> None:
        """Of the latest thousand lookups it is known what share was there; of none it is not."""
        self.assertIsNone(self.cache.recent.rate)
        self.cache.prefix_looked_up(0, 0)
        self.assertEqual(0, self.cache.recent.rate)
        for _ in range(1000):
            self.cache.prefix_looked_up(10, 0)
        for _ in range(250):
            self.cache.prefix_looked_up(10, 8)
        self.cache.external_looked_up(4, 1)
        self.assertEqual((0.2, 0.25), (self.cache.recent.rate, self.cache.recent_external.rate))

    def test_events(self) -> None:
        """Events are counted, and batches of them, and what does not reach everyone."""
        self.cache.events_published(5)
        self.cache.events_published(1)
        self.cache.events_dropped(2)
        self.assertEqual({"": 6}, self.read("vllmsim:kv_events_total"))
        self.assertEqual({"": 2}, self.read("vllmsim:kv_event_batches_total"))
        self.assertEqual({"": 2}, self.read("vllmsim:kv_events_dropped_total"))

    def test_without(self) -> None:
        """A rank without a cache shows what vLLM shows, and nothing of ours."""
        rank = RankMetrics("0", "m1", 256, {}, 0.0)
        page = rank.families.write() + rank.own.write()
        self.assertIn("vllm:kv_cache_usage_perc", page)
        self.assertNotIn("vllmsim:kv", page)
        self.assertNotIn("kv_block_lifetime", page)
