# -*- test-case-name: tests.scheduling.steps.test_scheduler -*-
"""A step while it is filled with sequences: what is in it, and what still goes into it."""

from attrs import define, field

from vllmsim.scheduling.steps.batch import Admission, Batch
from vllmsim.scheduling.steps.computation import Computation
from vllmsim.scheduling.steps.limits import StepLimits
from vllmsim.steps import StepWork


@define(eq=False)
class Filling:
    """A batch in the making.

    :param present: how many sequences there are, those that wait included.
    """

    limits: StepLimits
    _present: int
    most: int = field(init=False)
    """The most tokens of one sequence; 0 for any number."""
    scheduled: dict[Computation, int] = field(init=False, factory=dict)
    admitted: list[Admission] = field(init=False, factory=list)
    fetching: list[Admission] = field(init=False, factory=list)
    refused: list[Admission] = field(init=False, factory=list)
    goes_on: bool = field(init=False, default=False)
    """Whether there is one in it that ran before."""
    prompts_go_on: bool = field(init=False, default=False)
    """Whether a prompt goes on of which a part was computed before."""
    _scheduled_left: int = field(init=False)
    _batched_left: int = field(init=False)
    """How many tokens may still be scheduled, and how many the model still takes, which guesses may take some of."""

    def __attrs_post_init__(self) -> None:
        limits = self.limits
        self._batched_left = limits.batched_tokens
        self._scheduled_left = limits.batched_tokens if limits.scheduled_tokens is None else limits.scheduled_tokens
        self.most = limits.long_prefill
        if self._present <= 1:
            # One that is alone keeps nobody waiting.
            self.most = 0
        elif self.most and limits.adaptive:
            self.most = max(self.most, limits.batched_tokens // self._present)

    @property
    def left(self) -> int:
        """How many tokens still go into it, of one sequence more."""
        return max(0, min(self._scheduled_left, self._batched_left - self.limits.draft_slots))

    def choose(self, computation: Computation, start: int) -> int:
        """Choose with how many tokens a sequence is let in; 0 for not at all, and then nobody behind it is.

        :param start: how many are computed.
        """
        limits, left = self.limits, self.left
        wanted = computation.tokens - start
        if wanted == 1 and limits.padding and not self.prompts_go_on and (self.goes_on or start):
            # All sequences of a step that just decodes have the same number of tokens, as GPUs like it.
            padded = 1 + limits.padding
            if start + padded < limits.length:
                if padded > left:
                    return 0
                wanted = padded
        if 0 < self.most < wanted:
            wanted = self.most
        if wanted > left and not limits.chunked:
            return 0
        return min(wanted, left)

    def take(self, computation: Computation, tokens: int) -> None:
        """Put a sequence into it."""
        self.scheduled[computation] = tokens
        self._scheduled_left -= tokens
        self._batched_left -= tokens + self.limits.draft_slots

    def give_back(self, computation: Computation) -> None:
        """Take a sequence out again, if it is in."""
        tokens = self.scheduled.pop(computation, None)
        if tokens is not None:
            self._scheduled_left += tokens
            self._batched_left += tokens + self.limits.draft_slots

    def finish(self, preempted: list[Computation]) -> Batch:
        """Have all that is in it count as computed.

        :param preempted: those that lost their blocks since the last step was made.
        """
        drafts: dict[Computation, int] = {}
        prefill = decodes = guesses = read = pairs = 0
        for computation, tokens in self.scheduled.items():
            computed = computation.computed
            missing = computation.tokens - computed
            if missing == 1:
                decodes += 1
                if tokens > 1:
                    drafts[computation] = tokens - 1
                    guesses += tokens - 1
            else:
                prefill += tokens
            # A step may have no room for all of them; those that it leaves out are lost.
            computation.drafts = min(computation.drafts, tokens - 1)
            read += computed
            pairs += tokens * computed + tokens * (tokens + 1) // 2
            computation.computed = computed + tokens
            computation.pending = tokens
            computation.partial = tokens < missing
        work = StepWork(prefill, decodes, guesses, read, pairs)
        return Batch(self.scheduled, self.admitted, self.fetching, self.refused, preempted, work, drafts)
