"""How often a pacer had stopped."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.metrics.exposition import Families
from vllmsim.metrics.restarts import RestartMetrics


class RestartMetricsTests(SynchronousTestCase):
    """The one family."""

    def test_counts(self) -> None:
        """Nothing is shown before a pacer has stopped, and then how often."""
        families = Families({"engine": "0"}, None)
        metrics = RestartMetrics(families)
        self.assertEqual("", families.write())
        metrics.pacer_restarted()
        metrics.pacer_restarted()
        self.assertIn('vllmsim:pacer_restarts_total{engine="0"} 2.0\n', families.write())
