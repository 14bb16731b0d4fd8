"""Times with a long tail: half of them are shorter than usual, and some are many times longer."""

import math
import random

from vllmsim.interfaces import ILatencyModel
from vllmsim.interfaces.plugins import LatencySurroundings
from zope.interface import implementer

LONGEST = 50.0
"""How many times longer than usual something may take."""


@implementer(ILatencyModel)
class LognormalLatency:
    """Takes the usual time, times a number whose logarithm is normally distributed about 0."""

    def __init__(self, surroundings: LatencySurroundings) -> None:
        sigma = surroundings.options.get("sigma", 0.5)
        if not isinstance(sigma, int | float) or not 0 <= sigma <= 2:  # noqa: PLR2004
            raise ValueError("sigma must be a number from 0 to 2")
        self._sigma = sigma
        self._usual = surroundings.usual
        # Nothing, however often, is nothing.
        self.instant = self._usual.instant

    def time_to_first_token(
        self, prompt_tokens: int, cached_tokens: int, remote: bool, running: int, generator: random.Random
    ) -> float:
        """Draw the prefill's duration."""
        usual = self._usual.time_to_first_token(prompt_tokens, cached_tokens, remote, running, generator)
        return usual * self._factor(generator)

    def inter_token_latency(self, running: int, generator: random.Random) -> float:
        """Draw the gap before the next token."""
        return self._usual.inter_token_latency(running, generator) * self._factor(generator)

    def image_latency(self, generator: random.Random) -> float:
        """Draw the time that an image takes after the text."""
        return self._usual.image_latency(generator) * self._factor(generator)

    def _factor(self, generator: random.Random) -> float:
        return min(math.exp(generator.gauss(0.0, self._sigma)), LONGEST)
