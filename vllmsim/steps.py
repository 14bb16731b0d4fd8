# -*- test-case-name: tests.test_steps -*-
"""What one step of an engine computes, in numbers from which a time can be told, and where its sequences are."""

from typing import Literal, TypeAlias

from attrs import frozen

Phase: TypeAlias = Literal["queued", "fetch", "prefill", "decode", "preempted"]
"""Where a sequence is: it waits to be let in, or for tokens that are fetched from elsewhere; its prompt is computed, or
once more what it has come to; it generates; it waits again, since it has lost its blocks."""


@frozen
class StepWork:
    """The work of one step, over all sequences of its batch.

    :param prefill_tokens: tokens of prompts, or tokens that are computed again.
    :param decodes: sequences that compute their latest token alone.
    :param draft_tokens: tokens that were guessed, and are verified beside those.
    :param read: tokens whose keys and values are read: for each sequence those that were computed before the step.
    :param pairs: pairs of a token and one that it attends to, itself included: for each sequence that computes n tokens
        behind c, n c + n (n + 1) / 2.
    """

    prefill_tokens: int = 0
    decodes: int = 0
    draft_tokens: int = 0
    read: int = 0
    pairs: int = 0

    @property
    def tokens(self) -> int:
        """All tokens that the step computes."""
        return self.prefill_tokens + self.decodes + self.draft_tokens
