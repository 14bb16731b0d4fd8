# -*- test-case-name: tests.steptime.test_jitter -*-
"""A step that takes a little more or less than it should."""

import random

from attrs import frozen
from zope.interface import implementer

from vllmsim.interfaces import IStepTime
from vllmsim.randomness import clamped_normal
from vllmsim.steps import StepWork


@implementer(IStepTime)
@frozen
class JitteredStepTime:
    """Draws times about those of another.

    :param share: the standard deviation, as a share of the time.
    """

    usual: IStepTime
    share: float

    def seconds(self, work: StepWork, generator: random.Random) -> float:
        """Draw one; see :class:`vllmsim.interfaces.IStepTime`."""
        mean = self.usual.seconds(work, generator)
        return clamped_normal(generator, mean, self.share * mean)
