"""A tokenizer that comes from a plugin."""

import contextlib
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from tests.fakes import in_thread
from tests.plugins.guards.case import GuardTestCase
from vllmsim.errors import InvalidRequest
from vllmsim.inference import TextPrompt, TokenizedPrompt, Tokens
from vllmsim.interfaces import ITokenizer
from vllmsim.plugins.guards.blame import CLOSING, Nonsense
from vllmsim.plugins.guards.tokenizers import GuardedTokenizer
from vllmsim.tokenization.words import WordTokenizer

HI = TextPrompt("hi")


@define(eq=False)
class Tokenizer:
    """Gives what the test says, or raises it."""

    given: Any
    eos_id: Any = 0
    eos_text: Any = "<end>"
    vocabulary_size: Any = 10
    asked: list[str] = field(init=False, factory=list)

    def __getattr__(self, name: str) -> Any:
        """Have every method be one."""
        if name.startswith("__"):
            raise AttributeError(name)
        self.asked.append(name)

        def give(*_arguments: Any) -> Any:
            if isinstance(self.given, BaseException):
                raise self.given
            return self.given

        async def give_later(*_arguments: Any) -> Any:
            return give()

        return give_later if name in {"read", "encode", "decode", "close"} else give


def _any(made: Any) -> Any:
    """Have something be taken for anything."""
    return made


class TokenizerTests(GuardTestCase):
    """What it gives."""

    def guarded(self, given: Any) -> GuardedTokenizer:
        """Put a guard before one."""
        made = GuardedTokenizer(_any(Tokenizer(given)), self.blame, Clock())
        self.assertTrue(verifyObject(ITokenizer, made))
        return made

    def test_good(self) -> None:
        """What a tokenizer of ours gives comes through."""
        words = WordTokenizer(in_thread)
        guarded = GuardedTokenizer(words, self.blame, Clock())
        names = "eos_id", "eos_text", "vocabulary_size"
        self.assertEqual([getattr(words, name) for name in names], [getattr(guarded, name) for name in names])
        said = self.result(guarded.encode("one two", 10))
        self.assertEqual(("one ", "two"), said.texts)
        self.assertEqual(said.texts, guarded.texts_of(said.ids))
        self.assertEqual(said.texts, guarded.pieces_of(said.ids))
        self.assertEqual(("two", None), (guarded.text_of(said.ids[1]), guarded.text_of(5)))
        self.assertEqual("one two", self.result(guarded.decode(said.ids)))
        self.assertEqual(words.tag("<x>"), guarded.tag("<x>"))
        self.assertEqual(words.describe(), guarded.describe())
        self.assertEqual(self.result(words.read(HI, 9)), self.result(guarded.read(HI, 9)))
        self.result(guarded.close())
        self.assertBlamed()

    def test_class(self) -> None:
        """One that does not say what it is called is told by its class."""
        self.assertEqual({"tokenizer_class": "Tokenizer", "a": 1}, self.guarded({"a": 1}).describe())

    def test_too_many(self) -> None:
        """What is beyond the limit is cut off."""
        self.assertEqual(1, len(self.result(self.guarded(Tokens([1, 2], ["a", "b"])).encode("ab", 1))))
        read = TokenizedPrompt(HI, "ab", (1, 2), ("a", "b"))
        self.assertEqual((1,), self.result(self.guarded(read).read(HI, 1)).ids)

    def test_nonsense(self) -> None:
        """Whatever else it gives is a mistake, in each of its methods."""
        for name, arguments, given, text in (
            ("read", (HI, 9), "hi", "it reads a prompt and gives no TokenizedPrompt"),
            ("read", (HI, 9), TokenizedPrompt(HI, "hi", (10,), ("hi",)), "it gives the token 10"),
            ("read", (HI, 9), TokenizedPrompt(HI, None, (1,), ("hi",)), "it gives a NoneType"),  # type: ignore[arg-type]
            ("encode", ("hi", 9), [1], "it gives no Tokens"),
            ("encode", ("hi", 9), Tokens([1], []), "it gives 1 ids and 0 texts"),
            ("texts_of", ([1, 2],), ["a"], "it gives 1 or more texts for 2 tokens"),
            ("texts_of", ([1],), ["a", "b", "c"], "it gives 2 or more texts for 1 tokens"),
            ("pieces_of", ([1],), "a", "it gives one text"),
            ("text_of", (1,), 7, "it gives a int for a text"),
            ("decode", ([1],), "\udfff", "it gives a text with half of a character"),
            ("tag", ("<x>",), Tokens([], []), "it makes no token of '<x>'"),
            ("describe", (), 3, "it tells of itself by a int"),
            ("describe", (), Deferred(), "it tells of itself by a Deferred"),
            ("describe", (), {"made": object()}, "TypeError"),
        ):
            with self.subTest(name):
                self.assertBroken(text, getattr(self.guarded(given), name), *arguments)

    def test_raises(self) -> None:
        """One that raises in every method costs no more than a request, and does not hold up the end."""
        guarded = self.guarded(OSError("gone"))
        for name, arguments in (
            ("read", (HI, 9)), ("encode", ("hi", 9)), ("texts_of", ([1],)), ("pieces_of", ([1],)), ("text_of", (1,)),
            ("decode", ([1],)), ("tag", ("x",)), ("describe", ()),
        ):  # fmt: skip
            self.assertBroken("OSError: gone", getattr(guarded, name), *arguments)
        self.result(guarded.close())
        self.assertBlamed("OSError: gone")

    def test_never_closes(self) -> None:
        """One that does not come to an end does not keep the program from its own, whatever it makes of that."""

        class Stubborn(WordTokenizer):
            async def close(self) -> None:
                while True:
                    with contextlib.suppress(CancelledError):
                        await Deferred()

        clock = Clock()
        closing = Deferred.fromCoroutine(GuardedTokenizer(Stubborn(in_thread), self.blame, clock).close())
        self.assertNoResult(closing)
        clock.advance(CLOSING)
        self.successResultOf(closing)
        self.assertBlamed("it takes more than 5 s to close")
        self.assertEqual([], clock.getDelayedCalls())

    def test_refusal(self) -> None:
        """A chat template may refuse a conversation."""
        with self.assertRaises(InvalidRequest):
            self.result(self.guarded(InvalidRequest("roles must alternate")).read(HI, 9))
        self.assertBlamed()

    def test_attributes(self) -> None:
        """What does not change is looked at when it is made."""
        for wrong in ({"vocabulary_size": 0}, {"vocabulary_size": "1"}, {"eos_id": 10}, {"eos_text": b""}):
            self.assertRaises(Nonsense, GuardedTokenizer, Tokenizer(None, **wrong), self.blame, Clock())
