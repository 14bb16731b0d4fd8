"""Prompts become tokens."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import in_thread
from tests.scheduling.test_admission import SlowClock
from vllmsim.errors import InferenceError, InvalidRequest
from vllmsim.inference import (
    Conversation,
    Cut,
    Media,
    Message,
    Prompt,
    Span,
    TextPrompt,
    TokenizedPrompt,
    TokenPrompt,
)
from vllmsim.scheduling.prompts import PromptReader
from vllmsim.tokenization.words import WordTokenizer
from vllmsim.turns import Turn


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

    def test_many_ids(self) -> None:
        """Whether ids are tokens is looked at bit by bit, to the last, and others have their turns meanwhile."""
        clock, most = SlowClock(), 300_000
        reader = PromptReader(clock, WordTokenizer(in_thread), most)
        reading = Deferred.fromCoroutine(reader.read_all([(TokenPrompt((7,) * (most - 1) + (2**32,)), ())]))
        self.assertNoResult(reading)
        clock.advance(0)
        self.assertEqual(
            "Token id 4294967296 is out of vocabulary", self.failureResultOf(reading, InvalidRequest).value.message
        )

    def test_media(self) -> None:
        """A conversation's media share its tokens; those of token ids are where the client says."""
        media = (Media("image", "https://example.com/a.png"), Media("audio", "x"))
        read = self.read(Conversation((Message("user", "a b c", media=media),)))
        share = len(read.ids) // 2
        self.assertEqual(
            (Span("sim_img_0_b813296", 0, share), Span("sim_audio_0_fd0c5087", share, share, "audio")), read.media
        )
        self.assertEqual((Span("h", 1, 2),), self.read(TokenPrompt((1, 2, 3), (Span("h", 1, 2),))).media)
        self.assertEqual((), self.read(Conversation((Message("user", "a b c"),))).media)

    def test_cut_media(self) -> None:
        """Media move with the tokens that a cut leaves, and those without any are gone."""
        prompt = TokenPrompt(tuple(range(10)), (Span("a", 0, 4), Span("b", 4, 4), Span("c", 8, 1)))
        self.assertEqual((Span("b", 0, 3), Span("c", 3, 1)), self.read(prompt, Cut(5, "left")).media)
        self.assertEqual((Span("a", 0, 4), Span("b", 4, 1)), self.read(prompt, Cut(5)).media)
        self.assertEqual((Span("b", 0, 2),), self.read(prompt, Cut(6), Cut(2, "left")).media)
        self.assertEqual((), self.read(prompt, Cut(0)).media)
        media = tuple(Media("image", source) for source in "ab")
        conversation = Conversation((Message("user", "a b c", media=media),))
        whole = self.read(conversation)
        cut = self.read(conversation, Cut(3, "left"))
        self.assertEqual(Cut(3, "left").spans(whole.media, len(whole.ids)), cut.media)
        self.assertEqual([(0, 3)], [(span.offset, span.length) for span in cut.media])

    def test_much_media(self) -> None:
        """Hashing media lets others in."""
        clock = Clock()
        reader = PromptReader(clock, WordTokenizer(in_thread), 10)
        media = tuple(Media("image", str(number)) for number in range(3))
        turn = Turn(clock)
        clock.rightNow += 1
        placing = Deferred.fromCoroutine(reader._place(media, 9, turn))
        self.assertNoResult(placing)
        clock.advance(0)
        self.assertEqual([0, 3, 6], [span.offset for span in self.successResultOf(placing)])

    def test_nothing(self) -> None:
        """A cut may leave nothing."""
        self.assertEqual([], list(self.read(TextPrompt("a b"), Cut(0)).ids))
        self.assertEqual([], list(self.read(TokenPrompt((1, 2)), Cut(0, "left")).ids))

    def test_too_long(self) -> None:
        """What is too long after the cut is refused."""
        self.assertIn("at least 11", self.refusal(TextPrompt("a " * 30), Cut(11)).message)
        self.assertIn("contains 12", self.refusal(TokenPrompt(tuple(range(30))), Cut(12)).message)
