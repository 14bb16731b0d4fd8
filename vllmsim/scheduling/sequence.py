# -*- test-case-name: tests.scheduling.test_simulator -*-
"""One choice of one request, from the queue to its last token."""

import random
from collections.abc import Callable, Container
from collections.abc import Sequence as Several
from functools import partial
from typing import Final

from attrs import define, field
from twisted.internet.defer import Deferred

from vllmsim.inference import NOTHING_SAID, Adapter, Answer, HashedPrompt, InferenceRequest, Prefill, TokenizedPrompt
from vllmsim.interfaces import IEngineTrace, ITokenSink
from vllmsim.records import RequestRecord
from vllmsim.sampling import Sampling, entries
from vllmsim.scheduling.behaviour import Behaviour
from vllmsim.steps import Phase

_LONGEST_NAME: Final = 256
"""Of an id that a client has chosen, so much is traced."""


@define(eq=False)
class Submission:
    """One request that was let in: what its sequences have in common.

    :param prompts: its prompts, tokenized.
    :param sink: takes the tokens of all.
    :param behaviour: how it is served.
    :param record: is told what becomes of it.
    """

    request: InferenceRequest
    prompts: Several[TokenizedPrompt]
    sink: ITokenSink
    behaviour: Behaviour
    record: RequestRecord = field(factory=partial(RequestRecord, ""))
    _started: bool = field(init=False, default=False)
    _refused: dict[int, bool] = field(init=False, factory=dict)
    _composed: int = field(init=False, default=0)
    """How many tokens its answers tell, as far as they are known."""

    def started(self, prefill: Prefill) -> None:
        """Tell the sink, once, that the first token of any choice is due.

        :param prefill: how the prompt of that choice was computed.
        """
        if not self._started:
            self._started = True
            self.sink.started(self.prompts, prefill)

    def expect(self, limits: Several[int]) -> None:
        """Refuse what is sure to tell more than can be kept, before any of it is made.

        :param limits: the most tokens of an answer to each prompt.
        :raises vllmsim.errors.InvalidRequest: when there are several choices, with too many tokens together.
        """
        sampling = self.request.sampling
        told = sum([limit if sampling.ignore_eos else sampling.min_tokens for limit in limits])
        told *= entries(sampling.logprobs)
        times = 1 if self.request.repeats_prompt else 0
        if sampling.prompt_logprobs is not None:
            times += entries(sampling.prompt_logprobs)
        told += times * sum([len(prompt.ids) for prompt in self.prompts])
        self._allow(told * sampling.n)

    def composed(self, tokens: int) -> None:
        """Count the tokens of one more answer.

        :raises vllmsim.errors.InvalidRequest: when there are several, with too many together.
        """
        self._composed += tokens * entries(self.request.sampling.logprobs)
        self._allow(self._composed)

    def _allow(self, tokens: int) -> None:
        # One alone is as long as the context, which is the operator's business.
        if len(self.prompts) * self.request.sampling.n > 1:
            self.behaviour.allow(tokens)

    def refuses(self, choice: int, refused: bool) -> bool:
        """Decide whether a prompt is refused for how little of it is cached.

        All choices of a prompt have one fate, though what the first has stored may be cached for the next.

        :param refused: what would be decided for this choice alone.
        :return: what was decided for the first that asked.
        """
        return self._refused.setdefault(choice // self.request.sampling.n, refused)


@define(eq=False)
class Sequence:
    """One choice.

    :param choice: its number in the request.
    :param prompt: what it answers.
    :param hashed: the same as the KV cache knows it.
    :param limit: the most tokens that it may have.
    :param generator: its own randomness.
    :param arrived: when its request came, by the rank's clock.
    :param cancel: takes it out of the queue or its slot.
    :param begun: hears once that its first token is due.
    :param trace: is told where it is, if anything is.
    """

    submission: Submission
    choice: int
    prompt: TokenizedPrompt
    hashed: HashedPrompt
    limit: int
    generator: random.Random
    arrived: float
    _cancel: Callable[["Sequence"], None]
    _begun: Callable[["Sequence"], None]
    _trace: IEngineTrace | None = None
    adapter: Adapter | None = field(init=False)
    """What it needs on the GPU to run."""
    ready: float = field(init=False, default=0.0)
    """When the weights of its adapter are there, as the pacer counts time; known when it has a slot."""
    generation: Deferred[int] | None = field(init=False, default=None)
    """What it does in its slot, while it has one; cancelling it frees the slot."""
    aborted: bool = field(init=False, default=False)
    """Whether it is to end, or has ended, before its last token."""
    prefilled: bool = field(init=False, default=False)
    """Whether its first token has been due, or never will be."""
    done: Deferred[int] = field(init=False)
    """Fires with the number of its tokens when the last is out; errbacks with what went wrong. Cancelling stops it."""

    _traced: int | None = field(init=False, default=None)
    """What its trace calls it, from the time on that it has come."""

    @adapter.default
    def _find_adapter(self) -> Adapter | None:
        return self.submission.request.adapter

    @done.default
    def _make_done(self) -> Deferred[int]:
        return Deferred(lambda _: self._cancel(self))

    @property
    def sampling(self) -> Sampling:
        """Its parameters, as the client has sent them."""
        return self.submission.request.sampling

    @property
    def counts_prompt(self) -> bool:
        """Whether it is the first choice of its prompt, which counts with this alone."""
        return not self.choice % self.sampling.n

    @property
    def remote_tokens(self) -> int:
        """How many tokens of its prompt are fetched from the server that ran its prefill."""
        request, tokens = self.submission.request, len(self.prompt.ids)
        if not request.remote_prefill:
            return 0
        return tokens if request.remote_tokens is None else min(tokens, request.remote_tokens)

    def is_refused(self, prefill: Prefill) -> bool:
        """Tell whether too little of its prompt is cached for it to be served here."""
        request, usual = self.submission.request, self.submission.behaviour.hit_threshold
        if request.below_threshold:
            return True
        if usual is None:
            return False
        threshold = usual if request.hit_threshold is None else request.hit_threshold
        # The last token is never found: a prompt of which nothing else is missing is cached as well as it can be.
        missing = prefill.computed > 1 and prefill.found < threshold * prefill.tokens
        return self.submission.refuses(self.choice, missing)

    def draw_image_time(self) -> float:
        """Draw how many seconds an image takes that comes with the answer."""
        submission = self.submission
        return submission.behaviour.latency.image_latency(self.generator) if submission.request.form.image else 0.0

    def named_by(self, ids: Container[str]) -> bool:
        """Tell whether one of some ids means this sequence.

        A request goes by the id of its answer and by that id without its prefix; the choices of its prompt ``i`` also
        by the answer's id with ``-i`` behind it, as vLLM's engine calls them.
        """
        request = self.submission.request
        answer_id = request.answer_id
        return (
            request.request_id in ids or answer_id in ids or f"{answer_id}-{self.choice // request.sampling.n}" in ids
        )

    def begin(self, prefill: Prefill) -> None:
        """Tell who wants to know that the first token is due."""
        self._begun(self)
        self.submission.started(prefill)

    def moves(self, phase: Phase | None, at: float, **facts: object) -> None:
        """Tell the trace where the sequence is from now on.

        :param phase: None for nowhere.
        :param at: the time, by the rank's clock.
        :param facts: what there is to tell of that.
        """
        trace, number = self._trace, self._traced
        if trace is None:
            return
        if number is None:
            request = self.submission.request
            known = {"id": request.answer_id[:_LONGEST_NAME], "choice": self.choice, "model": request.model}
            self._traced = trace.sequence_came(at, {**known, "tokens": len(self.prompt.ids)})
        elif phase is None:
            trace.sequence_left(number, at)
        else:
            trace.sequence_moved(number, at, phase, facts)

    def end_early(self, said: Answer = NOTHING_SAID) -> int:
        """Tell the sink that nothing follows.

        :param said: what has been delivered.
        :return: its length in tokens.
        """
        length = len(said)
        self.submission.record.choice_ended(self.choice, length, "abort")
        self.submission.started(Prefill(len(self.prompt.ids)))
        self.submission.sink.tokens(self.choice, said, length, length)
        return length
