# -*- test-case-name: tests.steptime.test_linear -*-
"""A step takes a constant, and something for each thing that it computes or reads."""

import random

from attrs import frozen
from zope.interface import implementer

from vllmsim.interfaces import IStepTime
from vllmsim.steps import StepWork


@implementer(IStepTime)
@frozen
class LinearStepTime:
    """A sum; all parameters are seconds.

    :param constant: of each step.
    :param per_prefill_token: of each token of a prompt, and of each that was guessed, as it is verified the same way.
    :param per_decode_sequence: of each sequence that computes its latest token.
    :param per_cached_token: of each token whose keys and values are read.
    """

    constant: float = 0.0
    per_prefill_token: float = 0.0
    per_decode_sequence: float = 0.0
    per_cached_token: float = 0.0

    def seconds(self, work: StepWork, generator: random.Random) -> float:
        """Add it up; see :class:`vllmsim.interfaces.IStepTime`."""
        return (
            self.constant
            + (work.prefill_tokens + work.draft_tokens) * self.per_prefill_token
            + work.decodes * self.per_decode_sequence
            + work.read * self.per_cached_token
        )
