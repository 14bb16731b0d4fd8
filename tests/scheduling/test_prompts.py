"""Prompts become tokens."""

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import in_thread
from vllmsim.errors import InferenceError, InvalidRequest
from vllmsim.inference import Cut, Prompt, TextPrompt, TokenizedPrompt, TokenPrompt
from vllmsim.scheduling.prompts import PromptReader
from vllmsim.tokenization.words import WordTokenizer


class PromptReaderTests(SynchronousTestCase):
    """Reading and shortening. What holds without shortening is in the tests of admission."""

    def setUp(self) -> None:
        """Read into a context of ten tokens."""
        self.reader = PromptReader(Clock(), WordTokenizer(in_thread), 10)

    def read(self, prompt: Prompt, *cuts: Cut) -> TokenizedPrompt:
        """Read a prompt."""
        [read] = self.successResultOf(self.reader.read_all([(prompt, cuts)]))
        assert isinstance(read, TokenizedPrompt)
        return read

    def refusal(self, prompt: Prompt, *cuts: Cut) -> InferenceError:
        """Find out why a prompt is refused."""
        error: Any = self.failureResultOf(self.reader.read_all([(prompt, cuts)]), InvalidRequest).value
        assert isinstance(error, InferenceError)
        return error

    def test_text(self) -> None:
        """A text is cut at either side, and what is left is its text."""
        text = TextPrompt(" ".join("abcdefghijklm"))
        self.assertEqual(("a b ", 2), (self.read(text, Cut(2)).text, len(self.read(text, Cut(2)).ids)))
        self.assertEqual("l m", self.read(text, Cut(2, "left")).text)
        self.assertEqual("a b c d e f g h i j ", self.read(text, Cut(10)).text)
        self.assertEqual(["k ", "l "], list(self.read(text, Cut(12), Cut(2, "left")).texts))

    def test_ids(self) -> None:
        """Ids are cut likewise, and only those that are left are looked at."""
        ids = TokenPrompt((*range(12), -1))
        self.assertEqual([0, 1], list(self.read(ids, Cut(2)).ids))
        self.assertEqual("Token id -1 is out of vocabulary", self.refusal(ids, Cut(2, "left")).message)

    def test_nothing(self) -> None:
        """A cut may leave nothing."""
        self.assertEqual([], list(self.read(TextPrompt("a b"), Cut(0)).ids))
        self.assertEqual([], list(self.read(TokenPrompt((1, 2)), Cut(0, "left")).ids))

    def test_too_long(self) -> None:
        """What is too long after the cut is refused."""
        self.assertIn("at least 11", self.refusal(TextPrompt("a " * 30), Cut(11)).message)
        self.assertIn("contains 12", self.refusal(TokenPrompt(tuple(range(30))), Cut(12)).message)
