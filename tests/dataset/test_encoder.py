"""Answers of an encoder."""

import random

from twisted.trial.unittest import SynchronousTestCase

from tests.api.golden import prompt
from tests.fakes import in_thread
from vllmsim.dataset.encoder import EncoderSource
from vllmsim.inference import Extent
from vllmsim.tokenization.words import WordTokenizer


class EncoderTests(SynchronousTestCase):
    """A server that generates nothing."""

    def test_marks(self) -> None:
        """Every token is an exclamation mark, as many as may be."""
        source = EncoderSource(WordTokenizer(in_thread))
        said = self.successResultOf(source.respond(prompt([1]), "m", Extent(0, 3, explicit=True), random.Random(1)))
        self.assertEqual((["!"] * 3, [604802540] * 3), (list(said.texts), list(said.ids)))
