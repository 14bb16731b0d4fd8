# -*- test-case-name: tests.test_interfaces -*-
"""What an engine that goes in steps needs of others."""

import random

from zope.interface import Interface

from vllmsim.steps import StepWork


class IStepTime(Interface):
    """How long the steps of an engine take. Pure: equal work and generator states give equal times."""

    def seconds(work: StepWork, generator: random.Random) -> float:
        """Draw a step's duration.

        :param work: what it computes; at least one token.
        :param generator: the engine's randomness for this.
        :return: seconds, at least 0.
        """
