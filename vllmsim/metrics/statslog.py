# -*- test-case-name: tests.metrics.test_statslog -*-
"""The line of the log that says every ten seconds what a rank does, in vLLM's words.

It is what people, and scripts, look for in a log of vLLM's::

    Engine 000: Avg prompt throughput: 12.3 tokens/s, Avg generation throughput: 4.5 tokens/s, Running: 1 reqs,
    Waiting: 0 reqs, GPU KV cache usage: 1.6%, Prefix cache hit rate: 36.4%

all on one line. Of prompts it counts what was computed. A rank that does nothing says so once, and then nothing.
"""

from collections.abc import Callable, Iterator
from typing import ClassVar

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger


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

    @_loop.default
    def _make_loop(self) -> LoopingCall:
        loop = LoopingCall(self._tell)
        loop.clock = self._clock
        return loop

    def start(self) -> None:
        """Begin to tell."""
        self._looked, self._before = self._clock.seconds(), self._look()
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
        self._looked, self._before, self._idle = now, figures, idle

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
