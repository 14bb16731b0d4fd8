# -*- test-case-name: tests.metrics.test_statslog -*-
"""The line of the log that says every ten seconds what a rank does, in vLLM's words.

It is what people, and scripts, look for in a log of vLLM's::

    Engine 000: Avg prompt throughput: 12.3 tokens/s, Avg generation throughput: 4.5 tokens/s, Running: 1 reqs,
    Waiting: 0 reqs, GPU KV cache usage: 1.6%, Prefix cache hit rate: 36.4%

all on one line. Of prompts it counts what was computed. A rank that does nothing says so once, and then nothing.

Where tokens are guessed ahead another line says how many were right since the last such line, if any were verified::

    SpecDecoding metrics: Mean acceptance length: 2.40, Accepted throughput: 7.00 tokens/s, Drafted throughput: 15.00
    tokens/s, Accepted: 70 tokens, Drafted: 150 tokens, Per-position acceptance rate: 0.800, 0.400, 0.200, Avg Draft
    acceptance rate: 46.7%
"""

from collections.abc import Callable, Iterator
from operator import sub
from typing import ClassVar

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger


@frozen
class Drafts:
    """What has become of tokens that were guessed.

    :param count: how many times some were verified together.
    :param tokens: how many there were.
    :param accepted: how many were right, by their place among those that were guessed together.
    """

    count: float
    tokens: float
    accepted: tuple[float, ...]

    def since(self, before: "Drafts | None") -> "Drafts":
        """Tell what has become of them since some time.

        :param before: what had by then; None for nothing.
        """
        if before is None:
            return self
        accepted = tuple(map(sub, self.accepted, before.accepted))
        return Drafts(self.count - before.count, self.tokens - before.tokens, accepted)

    def line(self, seconds: float) -> str:
        """Write vLLM's line; there must be some.

        :param seconds: the time they took.
        """
        accepted = sum(self.accepted)
        rates = ", ".join(f"{each / self.count:.3f}" for each in self.accepted)
        return (
            f"SpecDecoding metrics: Mean acceptance length: {1 + accepted / self.count:.2f}, "
            f"Accepted throughput: {accepted / seconds:.2f} tokens/s, "
            f"Drafted throughput: {self.tokens / seconds:.2f} tokens/s, "
            f"Accepted: {accepted:.0f} tokens, Drafted: {self.tokens:.0f} tokens, "
            f"Per-position acceptance rate: {rates}, "
            f"Avg Draft acceptance rate: {100 * accepted / self.tokens:.1f}%"
        )


@frozen(kw_only=True)
class Figures:
    """What a rank has done, and does.

    :param computed: prompt tokens that it has computed.
    :param generated: tokens that it has generated.
    :param running: sequences in slots.
    :param waiting: sequences that wait.
    :param deferred: those of them that wait for something else than a slot.
    :param usage: share of KV blocks in use.
    :param hits: share of the tokens that recent requests looked up in the prefix cache and found there.
    :param external_hits: the same outside this server; None if nobody has looked.
    :param media_hits: share of the media of recent requests that were known; None if there were none.
    :param drafts: what has become of tokens that were guessed; None where none are.
    """

    computed: float = 0
    generated: float = 0
    running: float = 0
    waiting: float = 0
    deferred: float = 0
    usage: float = 0.0
    hits: float = 0.0
    external_hits: float | None = None
    media_hits: float | None = None
    drafts: Drafts | None = None


@define(eq=False)
class StatsLog:
    """Writes the line at an interval.

    :param number: which rank it is, from 0.
    :param look: tells what it has done until now.
    :param interval: seconds.
    """

    _log: ClassVar[Logger] = Logger()

    _clock: IReactorTime
    _number: int
    _look: Callable[[], Figures]
    _interval: float
    _loop: LoopingCall = field(init=False)
    _looked: float = field(init=False, default=0.0)
    _before: Figures = field(init=False, factory=Figures)
    _idle: bool = field(init=False, default=True)
    _told: float = field(init=False, default=0.0)
    """When the line on guessed tokens was written, or could have been first."""

    @_loop.default
    def _make_loop(self) -> LoopingCall:
        loop = LoopingCall(self._tell)
        loop.clock = self._clock
        return loop

    def start(self) -> None:
        """Begin to tell."""
        self._looked = self._told = self._clock.seconds()
        self._before = self._look()
        self._loop.start(self._interval, now=False).addErrback(
            lambda reason: self._log.failure("The log says no more what the rank does.", reason)
        )

    def stop(self) -> None:
        """Tell no more. Harmless when it does not."""
        if self._loop.running:
            self._loop.stop()

    def _tell(self) -> None:
        now, figures = self._clock.seconds(), self._look()
        seconds, before = now - self._looked, self._before
        computed, generated = figures.computed - before.computed, figures.generated - before.generated
        # As in vLLM the first line without work is the last one.
        idle = not computed and not generated
        if not (idle and self._idle):
            line = ", ".join(self._parts(computed / seconds, generated / seconds, figures))
            self._log.info("{line}", line=line)
        if figures.drafts is not None:
            self._tell_drafts(now, figures.drafts.since(before.drafts))
        self._looked, self._before, self._idle = now, figures, idle

    def _tell_drafts(self, now: float, drafts: Drafts) -> None:
        if drafts.count:
            self._log.info("{line}", line=drafts.line(now - self._told))
            self._told = now

    def _parts(self, prompts: float, answers: float, figures: Figures) -> Iterator[str]:
        yield f"Engine {self._number:03d}: Avg prompt throughput: {prompts:.1f} tokens/s"
        yield f"Avg generation throughput: {answers:.1f} tokens/s"
        yield f"Running: {figures.running:.0f} reqs"
        yield f"Waiting: {figures.waiting:.0f} reqs"
        if figures.deferred:
            yield f"Deferred: {figures.deferred:.0f} reqs"
        yield f"GPU KV cache usage: {100 * figures.usage:.1f}%"
        yield f"Prefix cache hit rate: {100 * figures.hits:.1f}%"
        if figures.external_hits is not None:
            yield f"External prefix cache hit rate: {100 * figures.external_hits:.1f}%"
        if figures.media_hits is not None:
            yield f"MM cache hit rate: {100 * figures.media_hits:.1f}%"
