"""Least squares with unknowns that are not negative."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.regression import Regression


def solved(*rows: tuple[tuple[float, ...], float]) -> tuple[float, ...]:
    """Fit some rows."""
    made = Regression(len(rows[0][0]))
    for row, value in rows:
        made.add(row, value, 1.0)
    return made.solve().values


class RegressionTests(SynchronousTestCase):
    """What fits best."""

    def test_exact(self) -> None:
        """Values that are a sum are found again."""
        constant, slope = solved(((1, 0), 2.0), ((1, 10), 5.0), ((1, 20), 8.0))
        self.assertAlmostEqual(2.0, constant)
        self.assertAlmostEqual(0.3, slope)

    def test_negative(self) -> None:
        """What would be negative is nothing, and the others are the best without it."""
        constant, slope = solved(((1, 0), 3.0), ((1, 1), 2.0), ((1, 2), 1.0))
        self.assertAlmostEqual(2.0, constant)
        self.assertEqual(0.0, slope)

    def test_unknown(self) -> None:
        """What the rows do not tell is nothing."""
        self.assertEqual(0.0, solved(((1, 0), 3.0), ((1, 0), 5.0))[1])
        self.assertEqual((0.0, 0.0), solved(((1, 1), 0.0)))
