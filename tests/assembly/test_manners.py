"""What a configuration makes of requests."""

import random
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from tests.fakes import FixedSource, in_thread
from vllmsim.assembly.manners import Manners, habits
from vllmsim.composing.composer import Composer
from vllmsim.config.schema import Configuration
from vllmsim.latency import LatencyModel
from vllmsim.models import ModelCatalogue
from vllmsim.tokenization.words import WordTokenizer


class MannersTests(SynchronousTestCase):
    """Settings and behaviour."""

    def setUp(self) -> None:
        """Make those of a rank."""
        self.configuration = load_words(["--reasoning-parser", "deepseek_r1"], {}).configuration
        source = FixedSource(["x"])
        composer = Composer(source, source, WordTokenizer(in_thread), in_thread, habits(self.configuration))
        generator = random.Random(1)
        self.manners = Manners(
            (0,), 1, ModelCatalogue("m", ("m",)), lambda: "id", lambda: 1, generator, composer, LatencyModel
        )

    def changed(self, **values: Any) -> Configuration:
        """Change the configuration."""
        return evolve(self.configuration, **values)

    def test_together(self) -> None:
        """Requests that are read with some settings are served as these have it."""
        behaviour = self.manners.behaviour(self.configuration)
        self.assertIs(behaviour, self.manners.settings(self.configuration, behaviour).behaviour)

    def test_composer(self) -> None:
        """What has been made of schemas is kept as long as it holds."""
        first = self.manners.behaviour(self.configuration).composer
        same = self.manners.behaviour(self.changed(time_to_first_token=1.0)).composer
        other = self.manners.behaviour(self.changed(reasoning_share=10)).composer
        self.assertEqual((True, False), (first is same, first is other))

    def test_habits(self) -> None:
        """Shares are parts of one, and a server without a reasoning parser does not reason."""
        self.assertEqual(
            (0.45, 0.5), (habits(self.configuration).extra_calls, habits(self.configuration).reasoning_share)
        )
        self.assertEqual(0.0, habits(self.changed(reasoning_parser="")).reasoning_share)
