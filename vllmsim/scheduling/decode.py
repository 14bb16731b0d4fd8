# -*- test-case-name: tests.scheduling.test_decode -*-
"""The tokens of one answer on their way out: each at its own deadline, unless something is to go wrong with these."""

from collections.abc import Callable
from math import inf
from typing import Final

from attrs import define, field

from vllmsim.inference import Disturbance
from vllmsim.interfaces import ILatencyModel, ISequenceBlocks
from vllmsim.scheduling.emission import Emission
from vllmsim.scheduling.pacing import Place

_MOST_TOKENS: Final = 256
_MOST_DETAILED: Final = 128
"""How many tokens are delivered at once, and how many of those that are shown in detail.

As events these are about 64 KiB, which a socket takes in one write and a sink makes in less than a millisecond or two.
"""


@define(eq=False)
class Decode(Emission):
    """The tokens of one answer on their way out, each at its own deadline.

    :param due: when the first token is due, in the pacer's time; every further one is due a gap after the one before.
    :param image: seconds that an image takes, which delays the last token.
    :param running: tells how many sequences run.
    """

    _blocks: ISequenceBlocks
    _due: float
    _image: float
    _running: Callable[[], int]
    _most: int = field(init=False)
    _latency: ILatencyModel = field(init=False)
    _prompt_tokens: int = field(init=False)
    _place: Place | None = field(init=False, default=None)

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
        self._place = self._model.pacer.add(self._due, self)

    def emit(self, now: float) -> float | None:
        """Deliver every token that is due; see :class:`vllmsim.scheduling.pacing.Paced`."""
        length = len(self._answer.ids)
        stop = self._reach(now, self.sent, length)
        # The last token is read by no step of the model, and so has no place in a block.
        self._blocks.grow(self._prompt_tokens + min(stop, max(0, length - 1)))
        self.deliver(stop, now + self._model.pacer.held)
        if stop < length:
            return self._due
        if not self.finished.called:
            self.finished.callback(None)
        return None

    def _give_up(self) -> None:
        if self._place is not None:
            self._model.pacer.discard(self._place)

    def _reach(self, now: float, start: int, length: int) -> int:
        """Count the tokens that are due, no more than are written at a time, and move the deadline to the next."""
        latency = self._latency
        most = min(length, start + self._most)
        if latency.instant and not self._image:
            return most
        due, stop, running, generator = self._due, start, self._running(), self._sequence.generator
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
        if self._due < inf:
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
