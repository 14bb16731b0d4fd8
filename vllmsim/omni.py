# -*- test-case-name: tests.test_omni -*-
"""Which answers come with an image: those whose request asks for one, and some of the others."""

import random

from attrs import frozen

from vllmsim.config.schema import Configuration


@frozen(eq=False)
class ImageEmission:
    """Decides for one answer after the other.

    :param generator: the decisions' own randomness.
    """

    _configuration: Configuration
    _generator: random.Random

    def __call__(self, requested: bool) -> bool:
        """Decide.

        :param requested: whether the request asks for an image.
        :return: whether one follows; never without `omni`.
        """
        c = self._configuration
        if not c.omni:
            return False
        return requested or (c.image_emission_rate > 0 and self._generator.randint(1, 100) <= c.image_emission_rate)
