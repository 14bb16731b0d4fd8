# -*- test-case-name: tests.metrics.test_speculation -*-
"""Tokens that are guessed ahead, in numbers: the families of a vLLM with a speculative-config."""

from attrs import define, field

from vllmsim.metrics.exposition import Families
from vllmsim.metrics.series import Counter
from vllmsim.metrics.statslog import Drafts


@define(eq=False)
class SpeculationMetrics:
    """Counts what is verified, and what is accepted of it.

    As in vLLM a draft counts with all tokens of it that a step verified, and those are accepted that were right, though
    the answer may have ended before them.

    :param tokens: how many tokens are guessed at a time.
    """

    _tokens: int
    _drafts: Counter = field(init=False, factory=Counter)
    _drafted: Counter = field(init=False, factory=Counter)
    _accepted: Counter = field(init=False, factory=Counter)
    _positions: list[Counter] = field(init=False)
    """Tokens that were accepted, by their place in the draft."""

    @_positions.default
    def _make_positions(self) -> list[Counter]:
        return [Counter() for _ in range(self._tokens)]

    def show(self, f: Families) -> None:
        """Show the counters."""
        f.show("vllm:spec_decode_num_drafts", "Drafts of guessed tokens that were verified.", self._drafts)
        f.show("vllm:spec_decode_num_draft_tokens", "Guessed tokens that were verified.", self._drafted)
        f.show("vllm:spec_decode_num_accepted_tokens", "Guessed tokens that were right.", self._accepted)
        f.show_by(
            "position",
            "vllm:spec_decode_num_accepted_tokens_per_pos",
            "Guessed tokens that were right, by their place in the draft.",
            {str(position): counter for position, counter in enumerate(self._positions)},
        )

    def verified(self, drafted: int, accepted: int) -> None:
        """Count a draft.

        :param drafted: how many tokens it had; at least one.
        :param accepted: how many of them, from the first on, were right.
        """
        self._drafts.value += 1
        self._drafted.value += drafted
        self._accepted.value += accepted
        for counter in self._positions[:accepted]:
            counter.value += 1

    def told(self) -> Drafts:
        """Tell the same for the log."""
        return Drafts(self._drafts.value, self._drafted.value, tuple([each.value for each in self._positions]))
