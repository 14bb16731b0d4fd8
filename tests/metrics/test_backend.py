"""A cache outside a server in numbers."""

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.metrics.reading import read
from vllmsim.interfaces import IBlockStoreMetrics
from vllmsim.metrics.backend import BackendMetrics
from vllmsim.metrics.exposition import Families


class BackendMetricsTests(SynchronousTestCase):
    """What happens to it is counted."""

    def setUp(self) -> None:
        """Have the metrics."""
        self.families = Families({"engine": "0"})
        self.metrics = BackendMetrics(self.families)

    def value(self, name: str, **labels: str) -> float:
        """Read one sample."""
        return read(self.families)[f"vllmsim:kv_backend_{name}", frozenset({"engine": "0", **labels}.items())]

    def test_provides(self) -> None:
        """It hears of everything."""
        verifyObject(IBlockStoreMetrics, self.metrics)

    def test_up(self) -> None:
        """Whether it can be reached is shown."""
        shown = [self.value("up")]
        for up in (True, False):
            self.metrics.store_changed(up)
            shown.append(self.value("up"))
        self.assertEqual([0, 1, 0], shown)

    def test_counts(self) -> None:
        """Troubles are counted by their reasons, blocks that did not go there, and the time of lookups."""
        for reason in ("connection", "timeout", "refused", "full", "full"):
            self.metrics.store_failed(reason)
        self.metrics.store_passed_over(7)
        self.metrics.store_answered(0.003)
        counts = [self.value("errors_total", reason=each) for each in ("connection", "timeout", "refused", "full")]
        self.assertEqual([1, 1, 1, 2], counts)
        self.assertEqual(7, self.value("dropped_blocks_total"))
        buckets = [self.value("lookup_seconds_bucket", le=bound) for bound in ("0.002", "0.005")]
        self.assertEqual([0, 1], buckets)
