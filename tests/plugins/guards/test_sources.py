"""A response source that comes from a plugin."""

import random
from typing import Any

from attrs import frozen
from zope.interface.verify import verifyObject

from tests.fakes import FixedSource, in_thread
from tests.plugins.guards.case import GuardTestCase
from vllmsim.errors import InvalidRequest
from vllmsim.inference import Extent, TextPrompt, TokenizedPrompt, Tokens
from vllmsim.interfaces import IResponseSource
from vllmsim.plugins.guards.sources import GuardedSource
from vllmsim.tokenization.words import WordTokenizer

PROMPT = TokenizedPrompt(TextPrompt("hi"), "hi", (1,), ("hi",))


@frozen
class Source:
    """Gives what the test says, or raises it."""

    said: Any

    async def respond(self, *_arguments: Any) -> Any:
        """Answer."""
        if isinstance(self.said, BaseException):
            raise self.said
        return self.said


class SourceTests(GuardTestCase):
    """What is said."""

    def respond(self, source: Any, least: int = 0, most: int = 5) -> Any:
        """Ask for an answer."""
        guarded = GuardedSource(source, WordTokenizer(in_thread), self.blame)
        self.assertTrue(verifyObject(IResponseSource, guarded))
        extent = Extent(least, most, explicit=False)
        return guarded.respond(PROMPT, "m", extent, random.Random(1))

    def texts(self, *words: str, **how: int) -> list[str]:
        """Ask one who says some words."""
        said = Tokens([len(word) for word in words], words)
        return list(self.result(self.respond(Source(said), **how)).texts)

    def test_said(self) -> None:
        """What may be said is said, cut where it is too long."""
        self.assertEqual(["a", "b"], self.texts("a", "b"))
        self.assertEqual(["a"], self.texts("a", "b", most=1))
        self.assertEqual([], self.texts())

    def test_deferred(self) -> None:
        """A source may give a Deferred."""
        self.assertIn("a", self.successResultOf(self.respond(FixedSource(["a"]))).texts)

    def test_short(self) -> None:
        """What is too short is said again, and nothing becomes ends of sequences."""
        self.assertEqual(["a", "b", "a"], self.texts("a", "b", least=3))
        self.assertEqual(["", ""], self.texts(least=2))

    def test_broken(self) -> None:
        """What cannot be said is a mistake of the source."""
        self.assertBroken("ValueError: no", self.respond, Source(ValueError("no")))
        self.assertBroken("it gives no Tokens", self.respond, Source("text"))
        self.assertBroken("it gives the token 4294967296", self.respond, Source(Tokens([2**32], ["x"])))
        self.assertBroken("TypeError", self.respond, FixedSource(7))  # type: ignore[arg-type]

    def test_refusal(self) -> None:
        """A source may refuse a request in its own words."""
        with self.assertRaisesRegex(InvalidRequest, "not this"):
            self.result(self.respond(Source(InvalidRequest("not this"))))
        self.assertBlamed()
