# -*- test-case-name: tests.scheduling.steps.test_computation -*-
"""One sequence as the scheduler knows it: tokens that are computed, and others that are not."""

import random
from collections.abc import Sequence

from attrs import define, field

from vllmsim.inference import Adapter, HashedPrompt
from vllmsim.interfaces import IStepBlocks


@define(eq=False)
class Computation:
    """A prompt and its answer, computed step by step, and perhaps once more.

    :param prompt: the prompt as the KV cache knows it.
    :param answer: the ids of all tokens that will be generated, at least one; None as long as nobody knows.
    :param priority: the lowest goes first, where priorities count.
    :param reads: whether blocks that have its prefix may be used.
    :param remote_tokens: how many tokens of the prompt are fetched from the server that ran its prefill.
    :param adapter: what must be on the GPU for it to run.
    :param generator: its own randomness, which decides what guesses are right.
    """

    prompt: HashedPrompt
    answer: Sequence[int] | None = None
    priority: int = 0
    reads: bool = True
    remote_tokens: int = 0
    adapter: Adapter | None = field(kw_only=True)
    generator: random.Random | None = field(kw_only=True, default=None)
    order: int = field(init=False, default=0)
    """Which it is of all that have come, from 1."""
    tokens: int = field(init=False)
    """How many tokens there are of prompt and answer, computed or not."""
    computed: int = field(init=False, default=0)
    """How many of them are computed, or will be with the step that runs."""
    pending: int = field(init=False, default=0)
    """How many tokens of it the step computes that runs, guesses included; 0 if it is in none."""
    drafts: int = field(init=False, default=0)
    """How many tokens are guessed behind the last, to be verified with the next step, or the one that runs."""
    partial: bool = field(init=False, default=False)
    """Whether the step that it was in last did not come to the end of its prompt, or of what is computed anew."""
    halt: int | None = field(init=False, default=None)
    """Behind how many tokens of its answer it stops until it is released, as the next is late on purpose: the step that
    computes that does not give it. None for nowhere."""
    preemptions: int = field(init=False, default=0)
    """How many times it lost its blocks."""
    blocks: IStepBlocks | None = field(init=False, default=None)
    """Its KV blocks, from its first admission on until its end."""

    @adapter.default
    def _adapter_of_prompt(self) -> Adapter | None:
        return self.prompt.adapter

    @tokens.default
    def _count_prompt(self) -> int:
        return len(self.prompt.ids)

    @property
    def generated(self) -> int:
        """How many tokens of the answer there are."""
        return self.tokens - len(self.prompt.ids)

    @property
    def held(self) -> bool:
        """Whether the next token is late on purpose."""
        return self.halt is not None and self.generated >= self.halt

    @property
    def finished(self) -> bool:
        """Whether the whole answer is there."""
        return self.answer is not None and self.generated >= len(self.answer)

    def lose(self) -> None:
        """Have nothing of it be computed, and its blocks be free."""
        self.computed = self.pending = self.drafts = 0
        if self.blocks is not None:
            self.blocks.release()
