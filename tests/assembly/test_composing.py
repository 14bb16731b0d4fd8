"""What composes the answers of a rank."""

import random

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.api.golden import prompt
from tests.fakes import RecordingMetrics, in_thread
from vllmsim.assembly.composing import make_composer
from vllmsim.assembly.manners import habits
from vllmsim.assembly.shared import build_shared
from vllmsim.assembly.tokenizing import BUILTIN
from vllmsim.clocks.clocks import Clocks
from vllmsim.clocks.standstill import Standstill
from vllmsim.composing.composer import Composer
from vllmsim.config.schema import Configuration
from vllmsim.inference import Extent
from vllmsim.structure import PLAIN
from vllmsim.tokenization.huggingface import load_tokenizer


class ComposerTests(SynchronousTestCase):
    """A rank with words."""

    def setUp(self) -> None:
        """Have its composer, and another tokenizer."""
        configuration = Configuration()
        shared = build_shared(configuration, Clocks.same(Clock()), in_thread, {})
        self.composer = make_composer(configuration, shared, RecordingMetrics(), in_thread, Standstill())
        self.tokenizer = load_tokenizer(BUILTIN, in_thread)

    def said(self, composer: Composer) -> tuple[str, int]:
        """Have it say something: its text, and its first token."""
        composing = composer.compose(prompt([1]), "m", PLAIN, Extent(30, 30, explicit=True), random.Random(3))
        tokens = self.successResultOf(composing).tokens
        return "".join(tokens.texts), tokens.ids[0]

    def test_own(self) -> None:
        """It speaks in the rank's own tokens, or in others."""
        words, others = self.said(self.composer), self.said(self.composer.speaking(self.tokenizer))
        self.assertGreater(words[1], self.tokenizer.vocabulary_size)
        self.assertLess(others[1], self.tokenizer.vocabulary_size)
        self.assertEqual(words[0][:40], others[0][:40])

    def test_kept(self) -> None:
        """It is the same that speaks in the same tokens, until habits change."""
        first = self.composer.speaking(self.tokenizer)
        self.assertIs(first, self.composer.speaking(self.tokenizer))
        self.assertIsNot(first, self.composer.speaking(load_tokenizer(BUILTIN, in_thread)))
        changed = self.composer.adapted(habits(Configuration(reasoning_parser="qwen3")))
        self.assertIsNot(changed.speaking(self.tokenizer), self.composer.speaking(self.tokenizer))
