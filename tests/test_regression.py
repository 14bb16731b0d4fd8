"""Least squares."""

import random

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.regression import Regression, Solution


def solved(rows: list[tuple[list[float], float]]) -> Solution:
    """Solve rows of equal weight."""
    regression = Regression(len(rows[0][0]))
    for row, value in rows:
        regression.add(row, value, 1.0)
    return regression.solve()


class RegressionTests(SynchronousTestCase):
    """Few unknowns, many rows."""

    def test_exact(self) -> None:
        """Rows without noise give the unknowns, however different their scales are."""
        generator, wanted = random.Random(1), (0.008, 1e-4, 9e-5, 2.5e-8)
        rows = []
        for _ in range(50):
            row = [1.0, *(generator.uniform(0, most) for most in (2048, 64, 1e5))]
            rows.append((row, sum(a * b for a, b in zip(row, wanted, strict=True))))
        solution = solved(rows)
        for value, right, error in zip(solution.values, wanted, solution.errors, strict=True):
            self.assertAlmostEqual(1.0, value / right, 6)
            self.assertLess(error, right * 1e-4)

    def test_noise(self) -> None:
        """With noise the unknowns are within a few standard errors."""
        generator = random.Random(2)
        rows = [([1.0, x], 3.0 + 2.0 * x + generator.gauss(0, 0.1)) for x in (generator.random() for _ in range(400))]
        solution = solved(rows)
        for value, right, error in zip(solution.values, (3.0, 2.0), solution.errors, strict=True):
            self.assertLess(abs(value - right), 4 * error)
            self.assertLess(error, 0.03)

    def test_not_negative(self) -> None:
        """What would be negative is 0, and the others are the best that they can be without it."""
        solution = solved([([1.0, 0.0], 1.0), ([1.0, 1.0], 0.5), ([1.0, 2.0], 0.0)])
        self.assertEqual(0.0, solution.values[1])
        self.assertAlmostEqual(0.5, solution.values[0])

    def test_untold(self) -> None:
        """What the rows do not tell apart is told as one; what is in none of them is 0."""
        solution = solved([([1.0, 8.0, 0.0], 2.0), ([1.0, 8.0, 0.0], 2.0)])
        self.assertAlmostEqual(2.0, solution.values[0] + 8 * solution.values[1])
        self.assertEqual(0.0, solution.values[2])

    def test_weights(self) -> None:
        """A row counts as much as its weight says."""
        regression = Regression(1)
        regression.add([1.0], 1.0, 3.0)
        regression.add([1.0], 2.0, 1.0)
        self.assertAlmostEqual(1.25, regression.solve().values[0])

    def test_nothing(self) -> None:
        """Without rows all is 0."""
        self.assertEqual(Solution((0.0, 0.0), (0.0, 0.0)), Regression(2).solve())
