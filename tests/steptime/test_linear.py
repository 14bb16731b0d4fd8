"""A step whose time is a sum."""

import random

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from vllmsim.interfaces import IStepTime
from vllmsim.steps import StepWork
from vllmsim.steptime.linear import LinearStepTime


class LinearTests(SynchronousTestCase):
    """What it adds up."""

    def test_sum(self) -> None:
        """A step takes its constant, and something for each thing that it computes or reads."""
        made = LinearStepTime(1.0, 0.1, 0.01, 0.001)
        self.assertTrue(verifyObject(IStepTime, made))
        for work, seconds in (
            (StepWork(decodes=1), 1.01),
            (StepWork(prefill_tokens=20), 3.0),
            (StepWork(prefill_tokens=20, decodes=3, draft_tokens=6, read=400, pairs=9999), 1.0 + 2.6 + 0.03 + 0.4),
        ):
            self.assertAlmostEqual(seconds, made.seconds(work, random.Random(1)))
        self.assertEqual(0.0, LinearStepTime().seconds(StepWork(7, 7, 7, 7, 7), random.Random(1)))
