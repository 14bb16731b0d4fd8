"""Answers made of sentences."""

import random

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.fakes import in_thread
from vllmsim.dataset.sentences import SENTENCES, SentenceSource
from vllmsim.inference import Extent, TextPrompt, TokenizedPrompt, Tokens
from vllmsim.interfaces import IResponseSource
from vllmsim.tokenization.words import WordTokenizer

PROMPT = TokenizedPrompt(TextPrompt("x"), "x", [1], ["x"])


class SentenceTests(SynchronousTestCase):
    """What is said, and how much of it."""

    def setUp(self) -> None:
        """Have a source."""
        self.source = SentenceSource(WordTokenizer(in_thread))

    def respond(self, least: int, limit: int, *, explicit: bool = True, seed: int = 1) -> Tokens:
        """Ask for an answer."""
        said: Tokens = self.successResultOf(
            self.source.respond(PROMPT, "m", Extent(least, limit, explicit), random.Random(seed))
        )
        return said

    def test_provides(self) -> None:
        """It is a response source."""
        verifyObject(IResponseSource, self.source)

    def test_whole_sentences(self) -> None:
        """An answer is sentences of the bank, the last one cut where the length is reached."""
        text = "".join(self.respond(300, 300).texts)
        while text:
            whole = next((s for s in SENTENCES if text.startswith(s)), None)
            if whole is None:
                self.assertTrue(any(s.startswith(text) for s in SENTENCES), text)
                break
            text = text.removeprefix(whole)

    def test_lengths(self) -> None:
        """The least number is reached, the limit is kept, and equal seeds say the same."""
        for limit in (1, 42, 99, 10_000):
            self.assertEqual(limit, len(self.respond(limit, limit)))
        lengths = [len(self.respond(30, 60, seed=seed)) for seed in range(200)]
        self.assertEqual((30, 60), (min(lengths), max(lengths)))
        self.assertEqual(self.respond(0, 60), self.respond(0, 60))

    def test_free(self) -> None:
        """Where the context is the limit, answers are about forty tokens long."""
        lengths = [len(self.respond(0, 100_000, explicit=False, seed=seed)) for seed in range(200)]
        self.assertLess(max(lengths), 150)

    def test_sentences_end_with_a_blank(self) -> None:
        """Sentences can be joined."""
        self.assertTrue(all(sentence.endswith(" ") and sentence == sentence.lstrip() for sentence in SENTENCES))
