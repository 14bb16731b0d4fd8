"""KV blocks on their way."""

from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import RecordingMetrics
from vllmsim.inference import Prefill
from vllmsim.scheduling.fetching import Fetch


class FetchTests(SynchronousTestCase):
    """What metrics hear of a transfer."""

    def setUp(self) -> None:
        """Begin one."""
        self.metrics = RecordingMetrics()
        self.fetch = Fetch(self.metrics, Prefill(33, external=32), 0.25)

    def test_finished(self) -> None:
        """A transfer that comes to its end is told with its length, once."""
        self.fetch.finish()
        self.fetch.finish()
        self.fetch.give_up()
        self.assertEqual([("fetching",), ("fetched", 32, 0.25)], self.metrics.heard)

    def test_given_up(self) -> None:
        """A transfer whose sequence is gone is not counted as one."""
        self.fetch.give_up()
        self.fetch.finish()
        self.assertEqual([("fetching",), ("fetch given up",)], self.metrics.heard)
