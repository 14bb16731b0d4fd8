# -*- test-case-name: tests.metrics.test_cache -*-
"""What becomes of a rank's KV blocks, in numbers: vLLM's families, and a few of our own.

vLLM counts a prefix cache in tokens: what sequences looked up, and what of that was there. Blocks that hold something
and belong to no sequence count as free. How long blocks live is measured on a share of them alone, and only shown where
that is asked for (``kv-cache-metrics``).
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

from zope.interface import implementer

from vllmsim.interfaces import ICacheMetrics
from vllmsim.metrics.exposition import Families
from vllmsim.metrics.series import Counter, Gauge, Histogram

_RECENT: Final = 1000


class RecentLookups:
    """What became of the latest lookups, as vLLM's log tells it."""

    def __init__(self) -> None:
        self._lookups: deque[tuple[int, int]] = deque(maxlen=_RECENT)
        self.add = self._lookups.append
        """Remember a lookup, given as the tokens that were looked up and those that were there."""

    @property
    def rate(self) -> float | None:
        """The share of tokens that was there; None if there was no lookup."""
        tokens = sum(tokens for tokens, _ in self._lookups)
        hits = sum(hits for _, hits in self._lookups)
        return (hits / tokens if tokens else 0.0) if self._lookups else None


@implementer(ICacheMetrics)
class CacheMetrics:
    """Counts what happens to blocks.

    The order of families is vLLM's: those of the cache are among the others, and ours come last.

    :param f: where its first families go.
    """

    def __init__(self, f: Families) -> None:
        self._usage = f.show("vllm:kv_cache_usage_perc", "Share of KV cache blocks in use.", Gauge())
        f.show("vllm:gpu_cache_usage_perc", "The same, under its older name.", self._usage)
        self._queries = f.show("vllm:prefix_cache_queries", "Tokens looked up in the prefix cache.", Counter())
        self._hits = f.show("vllm:prefix_cache_hits", "Tokens found in the prefix cache.", Counter())
        outside = "in a prefix cache outside this server."
        self._external_queries = f.show("vllm:external_prefix_cache_queries", f"Tokens looked up {outside}", Counter())
        self._external_hits = f.show("vllm:external_prefix_cache_hits", f"Tokens found {outside}", Counter())
        self._used, self._cached = Gauge(), Gauge()
        self._lives: tuple[Histogram, Histogram, Histogram] | None = None
        self.recent, self.recent_external = RecentLookups(), RecentLookups()

    @property
    def usage(self) -> float:
        """The share of blocks in use."""
        return self._usage.value

    def show_lives(self, f: Families, bounds: Sequence[float]) -> None:
        """Show how long blocks live."""

        def show(name: str, text: str) -> Histogram:
            return f.show(f"vllm:kv_block_{name}_seconds", text, Histogram(bounds))

        self._lives = (
            show("lifetime", "Seconds from a KV block's first use to its eviction."),
            show("idle_before_evict", "Seconds from a KV block's last use to its eviction."),
            show("reuse_gap", "Seconds from one use of a KV block to the next."),
        )

    def show_own(self, f: Families) -> None:
        """Show what vLLM does not: how many blocks can be found, and what became of their events."""
        text = "KV blocks that sequences have (used), and that can be found by their hashes (cached); some are both."
        f.show_by("state", "vllmsim:kv_blocks", text, {"used": self._used, "cached": self._cached})
        self._batches = f.show("vllmsim:kv_event_batches", "Batches of KV events published.", Counter())
        self._events = f.show("vllmsim:kv_events", "KV events published.", Counter())
        text = "KV events that some subscriber does not get, since it does not keep up."
        self._dropped = f.show("vllmsim:kv_events_dropped", text, Counter())

    def prefix_looked_up(self, tokens: int, hits: int) -> None:
        """Count tokens."""
        self._queries.value += tokens
        self._hits.value += hits
        self.recent.add((tokens, hits))

    def external_looked_up(self, tokens: int, hits: int) -> None:
        """Count tokens."""
        self._external_queries.value += tokens
        self._external_hits.value += hits
        self.recent_external.add((tokens, hits))

    def blocks_counted(self, used: int, cached: int, usable: int) -> None:
        """Remember the numbers."""
        self._usage.value = used / usable
        self._used.value, self._cached.value = used, cached

    def block_evicted(self, lifetime: float, idle: float, reuse_gaps: Sequence[float]) -> None:
        """Observe the life of a block."""
        if self._lives is not None:
            lifetimes, idles, gaps = self._lives
            lifetimes.observe(lifetime)
            idles.observe(idle)
            for gap in reuse_gaps:
                gaps.observe(gap)

    def events_published(self, events: int) -> None:
        """Count a batch."""
        self._batches.value += 1
        self._events.value += events

    def events_dropped(self, events: int) -> None:
        """Count events."""
        self._dropped.value += events
