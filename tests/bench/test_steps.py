"""What a step costs."""

from twisted.trial.unittest import SynchronousTestCase

from bench import report, steps
from bench.machine import Cores
from bench.plan import Plan


class StepTests(SynchronousTestCase):
    """Steps are made and timed."""

    def test_figure(self) -> None:
        """The first number of sequences has a bar, and more of them take longer."""
        said: list[str] = []
        plan = Plan(Cores(None, None, None), say=said.append, streams=[4, 400], tokens=8, rounds=1)
        result = steps.measure(plan)
        few, many = (float(row[1].split()[0]) for row in result.rows)
        self.assertLess(few, many)
        self.assertEqual((["step"], 2), (list(result.figures), len(said)))
        self.assertLess(0, result.figures["step"])
        self.assertEqual(
            "CPU of a step over 256 running sequences, beside their tokens", report.summary(result.figures).rows[0][0]
        )
