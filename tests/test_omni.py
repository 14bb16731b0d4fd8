"""Answers with images."""

import random

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.config.schema import Configuration
from vllmsim.omni import ImageEmission


class EmissionTests(SynchronousTestCase):
    """Which answers have an image."""

    def count(self, requested: bool, **options: int | bool) -> int:
        """Count the images of 1000 answers."""
        emission = ImageEmission(Configuration(**options), random.Random(1))  # type: ignore[arg-type]
        return sum(emission(requested) for _ in range(1000))

    def test_rates(self) -> None:
        """A request that asks has one, others by chance, and none without `omni`."""
        self.assertEqual(1000, self.count(True, omni=True))
        self.assertEqual(0, self.count(False, omni=True))
        self.assertEqual(1000, self.count(False, omni=True, image_emission_rate=100))
        self.assertTrue(200 < self.count(False, omni=True, image_emission_rate=25) < 300)
        self.assertEqual(0, self.count(True, image_emission_rate=100))
