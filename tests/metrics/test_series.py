"""Counters and their samples."""

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.metrics.series import (
    Histogram,
    Summary,
    counter_family,
    gauge_family,
    histogram_family,
    summary_family,
    token_buckets,
)


class HistogramTests(SynchronousTestCase):
    """Observations by bucket."""

    def test_observe(self) -> None:
        """A value on a bound belongs to that bucket; above the last it belongs to the rest."""
        histogram = Histogram((1, 2))
        for value in (0.5, 1, 1.5, 2, 3):
            histogram.observe(value)
        self.assertEqual(([2, 2, 1], 8.0), (histogram.counts, histogram.total))

    def test_token_buckets(self) -> None:
        """Token buckets are 1, 2, 5 and so on, up to the limit."""
        expected = {
            -1: (), 0: (), 1: (1,), 5: (1, 2, 5), 10: (1, 2, 5, 10), 99: (1, 2, 5, 10, 20, 50),
            1024: (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
        }  # fmt: skip
        self.assertEqual(expected, {most: token_buckets(most) for most in expected})
        self.assertEqual(20000, token_buckets(32768)[-1])


class FamilyTests(SynchronousTestCase):
    """How families are exposed."""

    def text(self, family: Metric) -> list[str]:
        """Write a family, without its comments."""

        class Holder:
            def collect(self) -> list[Metric]:
                return [family]

        registry = CollectorRegistry()
        registry.register(Holder())
        return [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]

    def test_histogram(self) -> None:
        """Buckets are cumulative, and followed by count, sum and the time of creation."""
        histogram = Histogram((0.5, 1))
        histogram.observe(0.7)
        expected = [
            'x_bucket{a="b",le="0.5"} 0.0',
            'x_bucket{a="b",le="1.0"} 1.0',
            'x_bucket{a="b",le="+Inf"} 1.0',
            'x_count{a="b"} 1.0',
            'x_sum{a="b"} 0.7',
            'x_created{a="b"} 5.0',
        ]
        self.assertEqual(expected, self.text(histogram_family("x", "", [({"a": "b"}, histogram)], 5)))

    def test_others(self) -> None:
        """Counters and summaries have times of creation, gauges have not."""
        summary = Summary()
        summary.observe(3)
        self.assertEqual(["x_total 2.0", "x_created 5.0"], self.text(counter_family("x", "", [({}, 2)], 5)))
        self.assertEqual(
            ["x_count 1.0", "x_sum 3.0", "x_created 5.0"], self.text(summary_family("x", "", [({}, summary)], 5))
        )
        self.assertEqual(["x 1.0"], self.text(gauge_family("x", "", [({}, 1)])))
