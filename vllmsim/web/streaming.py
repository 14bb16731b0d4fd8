# -*- test-case-name: tests.web.test_streaming -*-
"""The two HTTP sinks: a stream of events, and an answer to be written in one piece."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from zope.interface import implementer

from vllmsim.api import eventstream
from vllmsim.api.dialect import StreamEncoder
from vllmsim.errors import InferenceError
from vllmsim.inference import NOT_PREFILLED, Answer, Prefill, TokenizedPrompt
from vllmsim.interfaces import ITokenSink
from vllmsim.web.channel import Channel
from vllmsim.web.request import Request
from vllmsim.web.sending import Write

_AT_ONCE: Final = 128
"""How many tokens that have waited are written in one turn: some 32 KiB, and some milliseconds if they are shown in
detail."""


@implementer(ITokenSink)
@define(eq=False)
class EventStream:
    """Writes tokens as events, each as it comes.

    While the client does not read, what comes is remembered as runs of numbers: the answer is there in any case, and
    its sequence goes on in its own time, so that a reader who stops costs little memory and nobody's place. It is
    written from where it stopped when the client reads again.
    """

    _request: Request
    _encoder: StreamEncoder
    begun: bool = field(init=False, default=False)
    """Whether the status line is out, so that an error can only be an event."""
    _behind: dict[int, tuple[Answer, int, int]] = field(init=False, factory=dict)
    """Of each choice the answer, the first token that is not written, and the one after the last."""
    _catching_up: Deferred[None] | None = field(init=False, default=None)
    _encode: Callable[[int, Answer, int, int], bytes] = field(init=False)
    _channel: Channel = field(init=False)
    _write: Write = field(init=False)

    def started(self, prompts: Sequence[TokenizedPrompt], prefill: Prefill) -> None:
        """Send the status line and what comes before the first token."""
        opening = self._encoder.opening(prompts, prefill)
        self.begun = True
        self._request.setHeader(b"Content-Type", eventstream.CONTENT_TYPE)
        self._request.write(opening)
        self._encode, self._channel = self._encoder.tokens, self._request.channel
        self._write = self._request.piece_writer()

    def tokens(self, choice: int, answer: Answer, start: int, stop: int) -> None:
        """Send a run of tokens, or have it wait until the client reads."""
        if not (self._channel.full or self._behind):
            self._write(self._encode(choice, answer, start, stop))
            return
        self._remember(choice, answer, start, stop)
        if self._catching_up is None:
            self._catching_up = Deferred.fromCoroutine(self._catch_up())

    def _remember(self, choice: int, answer: Answer, start: int, stop: int) -> None:
        """Have a run of tokens wait."""
        first = self._behind[choice][1] if choice in self._behind else start
        self._behind[choice] = (answer, first, stop)

    async def _catch_up(self) -> None:
        """Write what waits as the client reads, and let others have their turns."""
        while self._behind and not self._request.gone:
            await self._request.room()
            choice, (answer, start, last) = next(iter(self._behind.items()))
            stop = min(last, start + _AT_ONCE)
            if stop < last:
                self._behind[choice] = (answer, stop, last)
            else:
                del self._behind[choice]
            self._write(self._encode(choice, answer, start, stop))
            await deferLater(self._request.site.clock, 0)
        self._catching_up = None

    async def close(self) -> None:
        """Send the end, behind everything that waits."""
        await self._end(self._encoder.closing)

    async def fail(self, error: InferenceError) -> None:
        """Send an error and the end."""
        await self._end(partial(self._encoder.failure, error))

    async def _end(self, ending: Callable[[], bytes]) -> None:
        catching_up, self._catching_up = self._catching_up, None
        if catching_up is not None:
            await catching_up
        self._request.write_last(ending())


@implementer(ITokenSink)
@define(eq=False)
class PreparedStream(EventStream):
    """A stream that takes some work before its first token, for which the tokens wait.

    :param prepare: does it, off the reactor.
    """

    _prepare: Callable[[Sequence[TokenizedPrompt]], Deferred[object]] = field(kw_only=True)
    _ready: bool = field(init=False, default=False)

    def started(self, prompts: Sequence[TokenizedPrompt], prefill: Prefill) -> None:
        """Send what comes before the first token, and prepare that."""
        EventStream.started(self, prompts, prefill)
        beginning = Deferred.fromCoroutine(self._begin(prompts))
        if not self._ready:
            self._catching_up = beginning

    def tokens(self, choice: int, answer: Answer, start: int, stop: int) -> None:
        """Send a run of tokens, or have it wait."""
        if self._ready:
            EventStream.tokens(self, choice, answer, start, stop)
        else:
            self._remember(choice, answer, start, stop)

    async def _begin(self, prompts: Sequence[TokenizedPrompt]) -> None:
        await self._prepare(prompts)
        self._ready = True
        await self._catch_up()


@implementer(ITokenSink)
@define(eq=False)
class WholeAnswer:
    """Keeps the answers until the last is complete."""

    prompts: Sequence[TokenizedPrompt] = field(init=False, default=())
    prefill: Prefill = field(init=False, default=NOT_PREFILLED)
    _answers: dict[int, Answer] = field(init=False, factory=dict)

    def started(self, prompts: Sequence[TokenizedPrompt], prefill: Prefill) -> None:
        """Learn about the prompts."""
        self.prompts, self.prefill = prompts, prefill

    def tokens(self, choice: int, answer: Answer, start: int, stop: int) -> None:
        """Remember a choice's answer."""
        self._answers[choice] = answer

    @property
    def choices(self) -> list[Answer]:
        """The answers, in the order of their choices."""
        return [self._answers[choice] for choice in sorted(self._answers)]

    @property
    def length(self) -> int:
        """How many tokens the prompts and the answers have."""
        return sum(len(prompt.ids) for prompt in self.prompts) + sum(map(len, self._answers.values()))
