"""The two HTTP sinks."""

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.api.golden import EOS, answer
from tests.fakes import prefilled
from vllmsim.errors import Unavailable
from vllmsim.inference import TextPrompt, TokenizedPrompt
from vllmsim.interfaces import ITokenSink
from vllmsim.web.streaming import EventStream, PreparedStream, WholeAnswer


@define
class Place:
    """A site, as far as a stream needs one."""

    clock: Clock = field(factory=Clock)


@define
class Written:
    """A request that remembers what is written to it, and whose client may stop to read."""

    parts: list[Any] = field(factory=list)
    site: Place = field(factory=Place)
    full: bool = False
    gone: bool = False
    most: int = 1000
    waiting: list[Deferred[None]] = field(factory=list)

    def setHeader(self, name: bytes, value: bytes) -> None:
        """Remember a header."""
        self.parts.append((name, value))

    def write(self, data: bytes) -> None:
        """Remember a piece, and have enough when there are too many."""
        self.parts.append(data)
        self.full = len(self.parts) >= self.most

    write_last = write

    @property
    def channel(self) -> "Written":
        """Tell whether there is room."""
        return self

    def piece_writer(self) -> Callable[[bytes], None]:
        """Write in the same way."""
        return self.write

    def room(self) -> Deferred[None]:
        """Wait."""
        self.waiting.append(Deferred())
        return self.waiting[-1] if self.full else succeed(None)

    def read(self, most: int) -> None:
        """Read, so that there is room for so many pieces more."""
        self.most = len(self.parts) + most
        self.full = False
        self.waiting[-1].callback(None)


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
        stream.started([], prefilled([]))
        self.assertTrue(stream.begun)
        stream.tokens(0, answer(71, EOS), 0, 2)
        self.finish(stream)
        head = (b"Content-Type", b"text/event-stream; charset=utf-8")
        self.assertEqual([head, b"<", b"0:0-2", b">"], self.request.parts)
        self.successResultOf(Deferred.fromCoroutine(stream.fail(Unavailable("gone"))))
        self.assertEqual(b"gone", self.request.parts[-1])

    def finish(self, stream: EventStream) -> None:
        """Close a stream that has nothing to wait for."""
        self.successResultOf(Deferred.fromCoroutine(stream.close()))

    def stalled(self) -> EventStream:
        """Make a stream whose client has read the opening and nothing else."""
        stream = EventStream(self.request, self.encoder)
        self.request.most = 2
        stream.started([], prefilled([]))
        return stream

    def test_stalled(self) -> None:
        """What a client does not read is remembered as numbers, and written from where it stopped, the end last."""
        stream = self.stalled()
        said = answer(*[71] * 300, EOS)
        for stop in range(1, 302):
            stream.tokens(0, said, stop - 1, stop)
            stream.tokens(1, said, stop - 1, stop)
        closed = Deferred.fromCoroutine(stream.close())
        self.assertEqual((2, 1), (len(self.request.parts), len(self.request.waiting)))
        self.request.read(2)
        self.request.site.clock.advance(0)
        self.assertEqual([b"0:0-128", b"0:128-256"], self.request.parts[2:])
        self.request.site.clock.advance(0)
        self.assertNoResult(closed)
        self.request.read(100)
        self.request.site.clock.pump([0] * 10)
        self.assertEqual([b"0:256-301", b"1:0-128", b"1:128-256", b"1:256-301", b">"], self.request.parts[4:])
        self.successResultOf(closed)
        self.assertEqual([], self.request.site.clock.getDelayedCalls())

    def test_turns(self) -> None:
        """What has waited is written bit by bit, so that others have their turns; what comes meanwhile follows it."""
        stream = self.stalled()
        said = answer(*[71] * 200)
        stream.tokens(0, said, 0, 150)
        self.request.read(100)
        stream.tokens(0, said, 150, 151)
        self.assertEqual([b"0:0-128"], self.request.parts[2:])
        self.request.site.clock.pump([0, 0])
        self.assertEqual([b"0:0-128", b"0:128-151"], self.request.parts[2:])
        stream.tokens(0, said, 151, 200)
        self.assertEqual(b"0:151-200", self.request.parts[-1])
        self.finish(stream)

    def test_stalled_for_ever(self) -> None:
        """When the client leaves, whoever waits to send the end is cancelled, and nothing more is written."""
        stream = self.stalled()
        stream.tokens(0, answer(71), 0, 1)
        closed = Deferred.fromCoroutine(stream.close())
        self.request.gone = True
        closed.cancel()
        self.failureResultOf(closed, CancelledError)
        self.assertEqual(2, len(self.request.parts))

    def test_gone_while_catching_up(self) -> None:
        """When the client leaves while what waited is written, the rest is not."""
        stream = self.stalled()
        stream.tokens(0, answer(*[71] * 300), 0, 300)
        self.request.read(100)
        self.request.gone = True
        self.request.site.clock.pump([0, 0])
        self.assertEqual([b"0:0-128"], self.request.parts[2:])
        self.assertEqual([], self.request.site.clock.getDelayedCalls())

    def test_error_while_catching_up(self) -> None:
        """An error in what waited is heard by whoever ends the stream."""
        self.encoder.tokens = lambda *_: 1 / 0
        stream = self.stalled()
        stream.tokens(0, answer(71), 0, 1)
        closed = Deferred.fromCoroutine(stream.close())
        self.request.read(100)
        self.failureResultOf(closed, ZeroDivisionError)
        self.successResultOf(Deferred.fromCoroutine(stream.fail(Unavailable("gone"))))
        self.assertEqual([b"gone"], self.request.parts[2:])

    def test_whole(self) -> None:
        """A whole answer has its choices in order, whatever order they came in."""
        whole = WholeAnswer()
        verifyObject(ITokenSink, whole)
        prompts = [TokenizedPrompt(TextPrompt("x y"), "x y", [1, 2], ["x ", "y"])]
        whole.started(prompts, prefilled(prompts, 1))
        first, second = answer(EOS), answer(71, EOS)
        whole.tokens(1, second, 0, 1)
        whole.tokens(0, first, 0, 1)
        whole.tokens(1, second, 1, 2)
        self.assertEqual((prompts, [first, second]), (whole.prompts, whole.choices))
        self.assertEqual(prefilled(prompts, 1), whole.prefill)
        self.assertEqual(5, whole.length)

    def test_opening_fails(self) -> None:
        """A stream whose opening cannot be written has not begun."""
        self.encoder.opening = lambda *_: 1 / 0
        stream = EventStream(self.request, self.encoder)
        self.assertRaises(ZeroDivisionError, stream.started, [], 0)
        self.assertEqual((False, []), (stream.begun, self.request.parts))


class PreparedTests(SynchronousTestCase):
    """A stream that takes some work before its first token."""

    def begin(self, work: Deferred[object] | None = None) -> None:
        """Begin a stream."""
        self.request, self.work = Written(), work or Deferred[object]()
        self.asked: list[Any] = []
        request: Any = self.request
        encoder: Any = Encoder()
        self.stream = PreparedStream(request, encoder, prepare=self.prepare)
        prompts = [TokenizedPrompt(TextPrompt("hi"), "hi", [1], ["hi"])]
        self.stream.started(prompts, prefilled(prompts))
        self.assertEqual([prompts], self.asked)

    def prepare(self, prompts: Any) -> Deferred[object]:
        """Remember what is asked for."""
        self.asked.append(prompts)
        return self.work

    def test_tokens_wait(self) -> None:
        """Tokens wait for it and come together then; those after them come as ever."""
        self.begin()
        said = answer(71, 72, 73, 74, EOS)
        self.stream.tokens(0, said, 0, 1)
        self.stream.tokens(0, said, 1, 3)
        self.assertEqual([b"<"], self.request.parts[1:])
        self.work.callback(None)
        self.stream.tokens(0, said, 3, 4)
        self.request.site.clock.advance(0)
        self.assertEqual([b"<", b"0:0-3", b"0:3-4"], self.request.parts[1:])
        self.request.site.clock.advance(0)
        self.stream.tokens(0, said, 4, 5)
        self.successResultOf(Deferred.fromCoroutine(self.stream.close()))
        self.assertEqual([b"0:4-5", b">"], self.request.parts[4:])

    def test_end_waits(self) -> None:
        """The end waits too."""
        self.begin()
        self.stream.tokens(0, answer(EOS), 0, 1)
        closing = Deferred.fromCoroutine(self.stream.close())
        self.assertNoResult(closing)
        self.work.callback(None)
        self.request.site.clock.advance(0)
        self.successResultOf(closing)
        self.assertEqual([b"<", b"0:0-1", b">"], self.request.parts[1:])

    def test_nothing_to_wait(self) -> None:
        """Work that is done before the first token holds up nothing, now or later."""
        self.begin(succeed(None))
        self.stream.tokens(0, answer(71, 72, EOS), 0, 1)
        self.assertEqual([b"<", b"0:0-1"], self.request.parts[1:])
        self.request.full = True
        self.stream.tokens(0, answer(71, 72, EOS), 1, 2)
        self.request.read(9)
        self.assertEqual([b"<", b"0:0-1", b"0:1-2"], self.request.parts[1:])
        self.request.site.clock.advance(0)

    def test_fails(self) -> None:
        """Work that fails is told at the end."""
        self.begin()
        self.stream.tokens(0, answer(EOS), 0, 1)
        self.work.errback(ValueError("no"))
        self.failureResultOf(Deferred.fromCoroutine(self.stream.close()), ValueError)
        self.successResultOf(Deferred.fromCoroutine(self.stream.fail(Unavailable("no"))))
        self.assertEqual([b"<", b"no"], self.request.parts[1:])
