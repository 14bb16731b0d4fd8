"""How alike two runs are."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.calibration.accuracy import Spread, compare, score
from vllmsim.calibration.measured import Measured


class CompareTests(SynchronousTestCase):
    """Request by request."""

    def test_mape(self) -> None:
        """The error is the mean of the differences, each as a part of what was measured, whichever is larger."""
        pairs = [
            (Measured(0.0, 1, 3, 0.1, 0.5), Measured(9.0, 1, 3, 0.11, 0.51)),
            (Measured(0.0, 1, 3, 0.2, 0.6), Measured(9.0, 1, 3, 0.1, 0.6)),
        ]
        first, gap, last = compare(pairs)
        self.assertEqual(["TTFT", "ITL", "E2E"], [first.name, gap.name, last.name])
        self.assertAlmostEqual((0.1 + 0.5) / 2, first.mape)
        self.assertAlmostEqual((0.0 + 0.25) / 2, gap.mape)
        self.assertAlmostEqual((0.02 + 0.0) / 2, last.mape)
        self.assertAlmostEqual((first.mape + gap.mape + last.mape) / 3, score([first, gap, last]))
        self.assertAlmostEqual(0.15, first.measured.mean)
        self.assertAlmostEqual(0.105, first.simulated.mean)

    def test_no_gap(self) -> None:
        """Where all answers have one token there is no gap to compare."""
        one = Measured(0.0, 1, 1, 0.1, 0.1)
        self.assertEqual(["TTFT", "E2E"], [each.name for each in compare([(one, one)])])

    def test_spread(self) -> None:
        """Of a hundred values the median and the 99th percentile are told."""
        self.assertEqual(Spread(51.0, 51.0, 100.0), Spread.of([float(n) for n in range(101, 0, -1)]))
