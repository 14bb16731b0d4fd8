"""The two HTTP sinks."""

from typing import Any

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.api.golden import EOS, answer
from vllmsim.errors import Unavailable
from vllmsim.inference import TextPrompt, TokenizedPrompt
from vllmsim.interfaces import ITokenSink
from vllmsim.web.streaming import EventStream, WholeAnswer


@define
class Written:
    """A request that remembers what is written to it."""

    parts: list[Any] = field(factory=list)

    def setHeader(self, name: bytes, value: bytes) -> None:
        """Remember a header."""
        self.parts.append((name, value))

    def write(self, data: bytes) -> None:
        """Remember a piece."""
        self.parts.append(data)


class Encoder:
    """Writes what it is asked to."""

    def opening(self, *_: Any) -> bytes:
        """Open."""
        return b"<"

    def tokens(self, choice: int, _answer: Any, start: int, stop: int) -> bytes:
        """Name a run."""
        return f"{choice}:{start}-{stop}".encode()

    def closing(self) -> bytes:
        """Close."""
        return b">"

    def failure(self, error: Unavailable) -> bytes:
        """Name an error."""
        return error.message.encode()


class SinkTests(SynchronousTestCase):
    """What they write."""

    def setUp(self) -> None:
        """Have a request."""
        self.request: Any = Written()
        self.encoder: Any = Encoder()

    def test_stream(self) -> None:
        """A stream begins with its first token, and everything is written as it comes."""
        stream = EventStream(self.request, self.encoder)
        verifyObject(ITokenSink, stream)
        self.assertFalse(stream.begun)
        stream.started([], 0)
        self.assertTrue(stream.begun)
        stream.tokens(0, answer(71, EOS), 0, 2)
        stream.close()
        head = (b"Content-Type", b"text/event-stream; charset=utf-8")
        self.assertEqual([head, b"<", b"0:0-2", b">"], self.request.parts)
        stream.fail(Unavailable("gone"))
        self.assertEqual(b"gone", self.request.parts[-1])

    def test_whole(self) -> None:
        """A whole answer has its choices in order, whatever order they came in."""
        whole = WholeAnswer()
        verifyObject(ITokenSink, whole)
        prompts = [TokenizedPrompt(TextPrompt("x y"), "x y", [1, 2], ["x ", "y"])]
        whole.started(prompts, 1)
        first, second = answer(EOS), answer(71, EOS)
        whole.tokens(1, second, 0, 1)
        whole.tokens(0, first, 0, 1)
        whole.tokens(1, second, 1, 2)
        self.assertEqual((prompts, 1, [first, second]), (whole.prompts, whole.cached_tokens, whole.choices))
        self.assertEqual(5, whole.length)

    def test_opening_fails(self) -> None:
        """A stream whose opening cannot be written has not begun."""
        self.encoder.opening = lambda *_: 1 / 0
        stream = EventStream(self.request, self.encoder)
        self.assertRaises(ZeroDivisionError, stream.started, [], 0)
        self.assertEqual((False, []), (stream.begun, self.request.parts))
