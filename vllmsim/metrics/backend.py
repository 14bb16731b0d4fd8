# -*- test-case-name: tests.metrics.test_backend -*-
"""What becomes of a cache of KV blocks outside this server, in numbers of our own."""

from typing import Final

from zope.interface import implementer

from vllmsim.interfaces import IBlockStoreMetrics
from vllmsim.metrics.exposition import Families
from vllmsim.metrics.series import Counter, Gauge, Histogram

_REASONS: Final = ("connection", "timeout", "refused", "full")
_BUCKETS: Final = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


@implementer(IBlockStoreMetrics)
class BackendMetrics:
    """Counts what happens to it.

    :param f: where its families go.
    """

    def __init__(self, f: Families) -> None:
        self._up = f.show("vllmsim:kv_backend_up", "Whether the cache outside this server can be reached.", Gauge())
        text = "What went wrong with it, by what it was."
        self._errors = f.show_by("reason", "vllmsim:kv_backend_errors", text, {each: Counter() for each in _REASONS})
        text = "Seconds that it took to answer lookups."
        self._lookups = f.show("vllmsim:kv_backend_lookup_seconds", text, Histogram(_BUCKETS))
        text = "KV blocks that did not go there, since there was no way or no room for them."
        self._dropped = f.show("vllmsim:kv_backend_dropped_blocks", text, Counter())

    def store_changed(self, up: bool) -> None:
        """Remember it."""
        self._up.value = float(up)

    def store_failed(self, reason: str) -> None:
        """Count it."""
        self._errors[reason].value += 1

    def store_answered(self, seconds: float) -> None:
        """Observe the time."""
        self._lookups.observe(seconds)

    def store_passed_over(self, blocks: int) -> None:
        """Count blocks."""
        self._dropped.value += blocks
