# -*- test-case-name: tests.scheduling.test_backlog -*-
"""The sequences that have been let in and have not ended, and vLLM's limits on them."""

from collections.abc import Callable
from typing import TypeVar

from attrs import define, field

from vllmsim.errors import Overloaded
from vllmsim.interfaces import IRankMetrics
from vllmsim.scheduling.limits import RankLimits
from vllmsim.scheduling.sequence import Sequence

T = TypeVar("T")


@define(eq=False)
class Backlog:
    """Knows every sequence from its admission to its end, whether it waits or runs.

    :param limits: tells when no more requests are let in.
    """

    _limits: Callable[[], RankLimits]
    _metrics: IRankMetrics
    sequences: dict[Sequence, None] = field(init=False, factory=dict)
    """The sequences, in the order in which they came."""
    prefill_tokens: int = field(init=False, default=0)
    """Prompt tokens of those whose first token is not out."""
    unread: int = field(init=False, default=0)
    """How many these are."""
    unread_tokens: int = field(init=False, default=0)
    """Their prompt tokens, where each prompt counts once, with the first of its choices."""

    def require_room(self, count: int) -> None:
        """Make sure that so many sequences may come.

        :raises vllmsim.errors.Overloaded: when a limit is reached.
        """
        limits = self._limits()
        if limits.sequences is not None and len(self.sequences) + count > limits.sequences:
            self._metrics.admission_rejected("max_num_queued_reqs")
            raise Overloaded(
                "The engine is currently busy and cannot accept new requests. "
                "Please try again later or on a different instance."
            )
        if limits.prefill_tokens is not None and self.prefill_tokens >= limits.prefill_tokens:
            self._metrics.admission_rejected("max_num_queued_tokens")
            raise Overloaded(
                "The engine has reached its prefill token backlog limit. "
                "Please try again later or on a different instance."
            )

    def enter(self, sequence: Sequence) -> None:
        """Count a sequence until it is done."""
        self.sequences[sequence] = None
        tokens = len(sequence.prompt.ids)
        self.prefill_tokens += tokens
        self.unread += 1
        if sequence.counts_prompt:
            self.unread_tokens += tokens
        sequence.done.addBoth(self._leave, sequence)

    def prefilled(self, sequence: Sequence) -> None:
        """Count a sequence's prompt no more: its first token is due."""
        tokens = len(sequence.prompt.ids)
        self.prefill_tokens -= tokens
        self.unread -= 1
        if sequence.counts_prompt:
            self.unread_tokens -= tokens
        sequence.prefilled = True

    def _leave(self, result: T, sequence: Sequence) -> T:
        del self.sequences[sequence]
        if not sequence.prefilled:
            self.prefilled(sequence)
        return result
