"""What counts."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.metrics.series import Histogram, Summary, token_buckets


class HistogramTests(SynchronousTestCase):
    """Observations by bucket."""

    def test_observe(self) -> None:
        """A value on a bound belongs to that bucket; above the last it belongs to the rest."""
        histogram = Histogram((1, 2))
        for value in (0.5, 1, 1.5, 2, 3):
            histogram.observe(value)
        self.assertEqual(([2, 2, 1], 8.0), (histogram.counts, histogram.total))

    def test_numbers(self) -> None:
        """Buckets are cumulative, and followed by count and sum; large counts are written as Go writes them."""
        histogram = Histogram((0.5, 1))
        histogram.observe(0.7)
        self.assertEqual(("0.0", "1.0", "1.0", "1.0", "0.7"), histogram.numbers())
        histogram.counts = [1, 1234566, 0]
        self.assertEqual(("1.0", "1.234567e+06", "1.234567e+06", "1.234567e+06", "0.7"), histogram.numbers())
        names = [("_bucket", "0.5"), ("_bucket", "1.0"), ("_bucket", "+Inf"), ("_count", None), ("_sum", None)]
        self.assertEqual(names, [(suffix, labels.get("le")) for suffix, labels in histogram.samples()])

    def test_token_buckets(self) -> None:
        """Token buckets are 1, 2, 5 and so on, up to the limit."""
        expected = {
            -1: (), 0: (), 1: (1,), 5: (1, 2, 5), 10: (1, 2, 5, 10), 99: (1, 2, 5, 10, 20, 50),
            1024: (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
        }  # fmt: skip
        self.assertEqual(expected, {most: token_buckets(most) for most in expected})
        self.assertEqual(20000, token_buckets(32768)[-1])


class SummaryTests(SynchronousTestCase):
    """Observations without buckets."""

    def test_observe(self) -> None:
        """It knows how many there were, and their sum."""
        summary = Summary()
        summary.observe(3)
        summary.observe(0.5)
        self.assertEqual(("2.0", "3.5"), summary.numbers())
