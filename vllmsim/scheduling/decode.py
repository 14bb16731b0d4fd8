# -*- test-case-name: tests.scheduling.test_decode -*-
"""The tokens of one answer on their way out: each at its own deadline, unless something is to go wrong with these."""

from math import inf
from typing import Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from vllmsim.inference import Answer, Disturbance
from vllmsim.interfaces import ILatencyModel, ISequenceBlocks
from vllmsim.scheduling.fetching import Fetch
from vllmsim.scheduling.model import Model
from vllmsim.scheduling.sequence import Sequence

_MOST_TOKENS: Final = 256
_MOST_DETAILED: Final = 128
"""How many tokens are delivered at once, and how many of those that are shown in detail.

As events these are about 64 KiB, which a socket takes in one write and a sink makes in less than a millisecond or two.
"""


def begin_decode(
    model: Model,
    sequence: Sequence,
    answer: Answer,
    blocks: ISequenceBlocks,
    due: float,
    image: float,
    fetch: Fetch | None,
) -> "Decode":
    """Have an answer's tokens leave, in their time or as something disturbs it."""
    disturbance = sequence.submission.request.disturbance
    if disturbance is None or answer.refused:
        return Decode(model, sequence, answer, blocks, due, image, fetch)
    return DisturbedDecode(model, sequence, answer, blocks, due, image, fetch, disturbance=disturbance)


@define(eq=False)
class Decode:
    """The tokens of one answer on their way out, each at its own deadline.

    :param blocks: the KV blocks that it fills; they have the prompt already.
    :param due: when the first token is due, in the pacer's time; every further one is due a gap after the one before.
    :param image: seconds that an image takes, which delays the last token.
    :param fetch: the transfer of the prompt's blocks, if they come from another server.
    """

    _model: Model
    _sequence: Sequence
    _answer: Answer
    _blocks: ISequenceBlocks
    _due: float
    _image: float = 0.0
    _fetch: Fetch | None = None
    sent: int = field(init=False, default=0)
    """How many tokens have been delivered."""
    _most: int = field(init=False)
    _latency: ILatencyModel = field(init=False)
    _prompt_tokens: int = field(init=False)
    first_emission: float = field(init=False, default=0.0)
    last_emission: float = field(init=False, default=0.0)
    finished: Deferred[None] = field(init=False)
    """Fires after the last token; cancelling it stops the rest, and a sink may do so while it takes a token."""

    @_most.default
    def _most_at_once(self) -> int:
        return _MOST_DETAILED if self._sequence.sampling.detailed else _MOST_TOKENS

    @_latency.default
    def _find_latency(self) -> ILatencyModel:
        return self._sequence.submission.behaviour.latency

    @_prompt_tokens.default
    def _count_prompt(self) -> int:
        return len(self._sequence.prompt.ids)

    def __attrs_post_init__(self) -> None:
        place = self._model.pacer.add(self._due, self)
        self.finished = Deferred(lambda _: self._model.pacer.discard(place))

    @property
    def said(self) -> Answer:
        """What has been delivered, as the answer of a sequence that is aborted."""
        return self._answer.aborted(self.sent)

    def emit(self, now: float) -> float | None:
        """Deliver every token that is due; see :class:`vllmsim.scheduling.pacing.Paced`."""
        start, length = self.sent, len(self._answer.ids)
        stop = self.sent = self._reach(now, start, length)
        # The last token is read by no step of the model, and so has no place in a block.
        self._blocks.grow(self._prompt_tokens + min(stop, max(0, length - 1)))
        model, sequence = self._model, self._sequence
        metrics, time = model.metrics, now + model.pacer.held
        if start:
            metrics.tokens_emitted(stop - start, time - self.last_emission)
        else:
            if self._fetch is not None:
                self._fetch.finish()
            if not self._answer.refused:
                metrics.prefill_finished(self._blocks.prefill, time - sequence.arrived)
                if sequence.submission.record.first_token is None:
                    sequence.submission.record.first_token = time
            metrics.tokens_emitted(stop, None)
            self.first_emission = time
            sequence.moves("decode", time)
            sequence.begin(self._blocks.prefill)
        self.last_emission = time
        if not self.finished.called:
            sequence.submission.sink.tokens(sequence.choice, self._answer, start, stop)
        if stop < length:
            return self._due
        if not self.finished.called:
            self.finished.callback(None)
        return None

    def fail(self, reason: Failure) -> None:
        """End the sequence: delivering a token failed."""
        if not self.finished.called:
            self.finished.errback(reason)

    def _reach(self, now: float, start: int, length: int) -> int:
        """Count the tokens that are due, no more than are written at a time, and move the deadline to the next."""
        latency = self._latency
        most = min(length, start + self._most)
        if latency.instant and not self._image:
            return most
        due, stop, running, generator = self._due, start, self._model.running(), self._sequence.generator
        while due <= now and stop < most:
            stop += 1
            due += latency.inter_token_latency(running, generator)
            if stop == length - 1:
                due += self._image
        self._due = due
        return stop


@define(eq=False)
class DisturbedDecode(Decode):
    """An answer whose first token is late, or that stalls before one of its tokens.

    It has its slot all the while, as one that is slow for any other reason.
    """

    _disturbance: Disturbance = field(kw_only=True)
    _stalls_at: int = field(init=False)
    _stalled: bool = field(init=False, default=False)

    @_stalls_at.default
    def _find_stall(self) -> int:
        # An answer that is shorter stalls before its last token.
        return min(self._disturbance.stall_at, len(self._answer) - 1)

    def __attrs_post_init__(self) -> None:
        self._due += self._disturbance.first_token
        if not self._disturbance.stall:
            self._stalled = True
        elif not self._stalls_at:
            self._stall()
        if self._due == inf:
            self.finished = Deferred()
        else:
            super().__attrs_post_init__()

    def emit(self, now: float) -> float | None:
        """Deliver every token that is due, and none that is stalled."""
        if self._stalled:
            return super().emit(now)
        usual, self._most = self._most, min(self._most, self._stalls_at - self.sent)
        due = super().emit(now)
        self._most = usual
        if self.sent < self._stalls_at:
            return due
        self._stall()
        return None if self._due == inf else self._due

    def _stall(self) -> None:
        self._stalled = True
        self._due += self._disturbance.stall
