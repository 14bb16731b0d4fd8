"""How many requests were made to fail."""

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from vllmsim.interfaces import IFailureMetrics
from vllmsim.metrics.failures import FailureMetrics


class FailureMetricsTests(SynchronousTestCase):
    """The one family."""

    def setUp(self) -> None:
        """Have a family."""
        self.metrics = FailureMetrics({"engine": "0"}, 5.0)

    def samples(self) -> dict[str, str]:
        """Read the totals by their labels."""
        lines = [
            line for line in self.metrics.write().splitlines() if line.startswith("vllmsim:injected_failures_total{")
        ]
        return {line.partition("{")[2].partition("}")[0]: line.rpartition(" ")[2] for line in lines}

    def test_nothing(self) -> None:
        """Where nothing may fail there is nothing to see."""
        verifyObject(IFailureMetrics, self.metrics)
        self.assertEqual("", self.metrics.write())

    def test_counts(self) -> None:
        """What may come is there before it comes, and what comes is counted."""
        self.metrics.failures_expected([("a", "cut"), ("", "rate_limit")])
        self.metrics.request_failed("a", "cut")
        self.metrics.request_failed("", "X-Return-Error")
        self.assertEqual(
            {
                'engine="0",rule="a",type="cut"': "1.0",
                'engine="0",rule="",type="rate_limit"': "0.0",
                'engine="0",rule="",type="X-Return-Error"': "1.0",
            },
            self.samples(),
        )

    def test_changes(self) -> None:
        """Rules that are gone are not shown, and those that stay go on; failures without a rule stay."""
        self.metrics.failures_expected([("a", "cut"), ("b", "cut"), ("", "rate_limit")])
        for rule in ("a", "b", "b"):
            self.metrics.request_failed(rule, "cut")
        self.metrics.failures_expected([("b", "cut"), ("a", "stall")])
        self.assertEqual(
            {
                'engine="0",rule="",type="rate_limit"': "0.0",
                'engine="0",rule="b",type="cut"': "2.0",
                'engine="0",rule="a",type="stall"': "0.0",
            },
            self.samples(),
        )

    def test_names(self) -> None:
        """Who asks for other metrics gets none of these."""
        self.metrics.request_failed("", "rate_limit")
        self.assertEqual("", self.metrics.write(["vllm:other"]))
        self.assertIn("rate_limit", self.metrics.write(["vllmsim:injected_failures_total"]))
