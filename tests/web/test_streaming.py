"""The two HTTP sinks."""

from typing import Any

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.api.golden import EOS, answer
from vllmsim.errors import Unavailable
from vllmsim.interfaces import ITokenSink
from vllmsim.web.streaming import EventStream, WholeBody


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

    def answer(self, status: int, body: bytes) -> None:
        """Remember a whole answer."""
        self.parts.append((status, body))

    def fail(self, error: Unavailable) -> None:
        """Remember an error."""
        self.parts.append(error)


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

    def body(self, prompts: Any, cached: int, answers: Any) -> bytes:
        """Count answers."""
        return f"{list(map(len, answers))}".encode()


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
        """A body is written when the last choice is complete, choices in order."""
        whole = WholeBody(self.request, self.encoder)
        verifyObject(ITokenSink, whole)
        whole.started([], 0)
        whole.tokens(1, answer(71, EOS), 0, 1)
        whole.tokens(0, answer(EOS), 0, 1)
        whole.tokens(1, answer(71, EOS), 1, 2)
        self.assertEqual([], self.request.parts)
        whole.close()
        self.assertEqual([(200, b"[1, 2]")], self.request.parts)
        error = Unavailable("gone")
        whole.fail(error)
        self.assertEqual((False, error), (whole.begun, self.request.parts[-1]))
