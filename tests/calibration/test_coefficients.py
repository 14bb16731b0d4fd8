"""Coefficients from what was measured."""

import random

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.calibration.coefficients import NOTHING, Coefficients, Row, add, parts_of, solve
from vllmsim.steps import StepWork
from vllmsim.steptime.linear import LinearStepTime


class PartsTests(SynchronousTestCase):
    """What coefficients are multiplied with."""

    def test_linear(self) -> None:
        """They are those of the linear step time, guesses among prompt tokens."""
        work = StepWork(prefill_tokens=3, decodes=5, draft_tokens=7, read=11, pairs=13)
        values = (0.5, 0.25, 0.125, 2.0)
        self.assertEqual(values, Coefficients(*values).values)
        linear = LinearStepTime(*values).seconds(work, random.Random(1))
        self.assertEqual(linear, sum(a * b for a, b in zip(values, parts_of(work), strict=True)))

    def test_add(self) -> None:
        """What several steps take is added up, or a share of it."""
        self.assertEqual((1.0, 2.0, 3.0, 4.0), add(NOTHING, (1.0, 2.0, 3.0, 4.0)))
        self.assertEqual((1.5, 1.0, 1.5, 2.0), add((1.0, 0.0, 0.0, 0.0), (1.0, 2.0, 3.0, 4.0), 0.5))


class SolveTests(SynchronousTestCase):
    """Rows of all kinds."""

    def rows(self) -> list[Row]:
        """Measure steps of 10 ms and 1 ms for each of some prompt tokens; a request's way is 5 ms."""
        tokens = [0, 5, 10, 20, 40] * 10
        return [Row((1.0, float(n), 0.0, 0.0), 0.01 + 0.001 * n + 0.005 * (n == 5), float(n == 5)) for n in tokens]

    def test_outside(self) -> None:
        """The time outside of the engine is told apart from that in it."""
        constant, per_token, _, _, outside = solve(self.rows()).values
        self.assertAlmostEqual(0.01, constant)
        self.assertAlmostEqual(0.001, per_token)
        self.assertAlmostEqual(0.005, outside)

    def test_outliers(self) -> None:
        """A step in which something else has happened hardly counts, be it much longer or next to nothing."""
        rows = [*self.rows(), Row((1.0, 0.0, 0.0, 0.0), 3.0), Row((1.0, 5.0, 0.0, 0.0), 1e-9)]
        constant, per_token, *_ = solve(rows).values
        self.assertLess(abs(constant / 0.01 - 1), 0.05)
        self.assertLess(abs(per_token / 0.001 - 1), 0.05)
