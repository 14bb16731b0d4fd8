"""Answers that repeat the question."""

import random

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.fakes import in_thread
from vllmsim.dataset.echo import EchoSource
from vllmsim.inference import Conversation, Extent, Message, Prompt, TextPrompt, TokenizedPrompt, TokenPrompt, Tokens
from vllmsim.interfaces import IResponseSource
from vllmsim.tokenization.words import WordTokenizer


class EchoTests(SynchronousTestCase):
    """What is repeated."""

    def setUp(self) -> None:
        """Have a source."""
        self.tokenizer = WordTokenizer(in_thread)
        self.source = EchoSource(self.tokenizer)

    def echo(self, prompt: Prompt, least: int = 0, limit: int = 100) -> Tokens:
        """Ask for an answer."""
        tokenized = TokenizedPrompt(prompt, "", [], [])
        said: Tokens = self.successResultOf(
            self.source.respond(tokenized, "m", Extent(least, limit, explicit=True), random.Random(1))
        )
        return said

    def test_provides(self) -> None:
        """It is a response source."""
        verifyObject(IResponseSource, self.source)

    def test_texts(self) -> None:
        """A prompt is repeated to the byte, of a conversation the last message."""
        self.assertEqual("  höre `zu` 漢\n", "".join(self.echo(TextPrompt("  höre `zu` 漢\n")).texts))
        conversation = Conversation((Message("user", "a"), Message("assistant", "b"), Message("tool", "sunny", "c1")))
        self.assertEqual(["sunny"], list(self.echo(conversation).texts))

    def test_ids(self) -> None:
        """Ids are repeated; those without a text appear as numbers."""
        self.assertEqual("1,2,3", "".join(self.echo(TokenPrompt((1, 2, 3))).texts))
        [known] = self.successResultOf(self.tokenizer.encode("known", 9)).ids
        self.assertEqual(["known", "7"], list(self.echo(TokenPrompt((known, 7))).texts))

    def test_limits(self) -> None:
        """An echo is cut at the limit, and said again until the least number of tokens is reached."""
        self.assertEqual(["a ", "b "], list(self.echo(TextPrompt("a b c"), limit=2).texts))
        self.assertEqual("a ba ba ", "".join(self.echo(TextPrompt("a b"), least=5).texts))
        self.assertEqual(
            (3, ""), (len(self.echo(TextPrompt(""), least=3)), "".join(self.echo(TextPrompt(""), 3).texts))
        )
