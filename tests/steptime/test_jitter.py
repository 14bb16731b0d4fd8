"""A step that takes more or less than it should."""

import random
import statistics

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from vllmsim.interfaces import IStepTime
from vllmsim.steps import StepWork
from vllmsim.steptime.jitter import JitteredStepTime
from vllmsim.steptime.linear import LinearStepTime

WORK = StepWork(decodes=1)


class JitterTests(SynchronousTestCase):
    """Times that are drawn."""

    def test_spread(self) -> None:
        """Times spread about the usual one, as a share of it, and none is far from it."""
        made = JitteredStepTime(LinearStepTime(2.0), 0.3)
        self.assertTrue(verifyObject(IStepTime, made))
        generator = random.Random(3)
        times = [made.seconds(WORK, generator) for _ in range(2000)]
        self.assertApproximates(2.0, statistics.fmean(times), 0.05)
        self.assertApproximates(0.6, statistics.stdev(times), 0.05)
        self.assertGreaterEqual(min(times), 0.6 - 1e-9)
        self.assertLessEqual(max(times), 3.4 + 1e-9)

    def test_seed(self) -> None:
        """Equal seeds draw equal times."""
        made = JitteredStepTime(LinearStepTime(2.0), 0.1)

        def times(seed: int) -> list[float]:
            generator = random.Random(seed)
            return [made.seconds(WORK, generator) for _ in range(5)]

        self.assertEqual(times(1), times(1))
        self.assertNotEqual(times(1), times(2))
