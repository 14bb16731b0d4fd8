# -*- test-case-name: tests.api.test_dialect -*-
"""What a dialect is: it reads a request body into a call, and knows how to write the call's answer."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar

from attrs import field, frozen

from vllmsim.api.body import Head
from vllmsim.api.logprobs import Shower
from vllmsim.api.pace import Pace
from vllmsim.api.sampling import GenerationBody
from vllmsim.api.spoiling import EVENTS, Spoiling
from vllmsim.api.thresholds import USUAL, Threshold
from vllmsim.api.toolcalls import Tooling
from vllmsim.api.transfer import PrefillSource, Transfer, encoder_outputs
from vllmsim.errors import InferenceError, InvalidRequest
from vllmsim.inference import Answer, Cut, InferenceRequest, Prefill, Prompt, TokenizedPrompt
from vllmsim.interfaces import IModelCatalogue
from vllmsim.sampling import Sampling
from vllmsim.structure import PLAIN, Form

_BEYOND: Final = 1 << 63
"""No priority is so high; the lowest is as far below 0."""
_SHOWN: Final = 64
"""How many characters of a header that is wrong are shown."""


@frozen(eq=False)
class Settings:
    """What all dialects share. These settings hold for every request that a dialect reads; others need another dialect.

    :param models: which names are served.
    :param new_id: makes the part of an answer's id that follows its prefix: 16 hexadecimal digits.
    :param now: tells the time for ``created``, in whole seconds since the epoch.
    :param fingerprint: the value of ``system_fingerprint``.
    :param stream_interval: tokens per chunk after the first, unless the request says otherwise.
    :param together: whether tokens that come at the same time leave in one chunk.
    :param ranks: the data-parallel ranks that requests may name.
    :param tooling: what the server does about tools.
    :param reasons: whether answers begin with reasoning.
    :param multimodal: whether prompts may have images, sounds and films.
    :param encoder_only: whether the server encodes media and generates nothing.
    :param wants_image: tells whether an image follows an answer, given whether its request asks for one.
    :param remote: what a decoding server is told of this one.
    :param trusts_templates: whether requests may bring chat templates of their own.
    :param block_size: tokens per block of the KV cache; None where none is simulated.
    :param most_prompts: prompts of a text completion, and conversations of a batch.
    :param behaviour: how requests are served that are read with these settings.
    """

    models: IModelCatalogue
    new_id: Callable[[], str]
    now: Callable[[], int]
    fingerprint: str | None = None
    response_role: str = "assistant"
    stream_interval: int = 1
    together: bool = False
    tokens_as_ids: bool = False
    prompt_tokens_details: bool = False
    force_include_usage: bool = False
    ranks: Sequence[int] = (0,)
    tooling: Tooling = field(factory=Tooling)
    reasons: bool = False
    multimodal: bool = True
    encoder_only: bool = False
    wants_image: Callable[[bool], bool] = bool
    remote: PrefillSource = field(factory=PrefillSource)
    trusts_templates: bool = False
    block_size: int | None = None
    most_prompts: int = 1024
    behaviour: object = None

    def pace(self, interval: int | None = None) -> Pace:
        """Tell when chunks of a stream leave.

        :param interval: what its request says; None for nothing.
        """
        return Pace(interval or self.stream_interval, self.together)


class StreamEncoder(Protocol):
    """Writes a streamed answer piece by piece."""

    def opening(self, prompts: Sequence[TokenizedPrompt], prefill: Prefill) -> bytes:
        """Write what comes before the first token."""

    def tokens(self, choice: int, answer: Answer, start: int, stop: int) -> bytes:
        """Write the tokens `start` to `stop` of a choice, and its end if they include the last."""

    def closing(self) -> bytes:
        """Write what comes after the last token of the last choice."""

    def failure(self, error: InferenceError) -> bytes:
        """Write an error in the place of the rest."""


class WholeEncoder(Protocol):
    """Writes an answer in one piece."""

    def body(self, prompts: Sequence[TokenizedPrompt], prefill: Prefill, answers: Sequence[Answer]) -> bytes:
        """Write the answer; `answers` has one per choice."""


@frozen(eq=False)
class Call:
    """A request as its dialect reads it, and how to answer.

    :param stream_encoder: makes the writer of a streamed answer; None if the request wants a whole one.
    :param whole_encoder: makes the writer of an answer in one piece.
    :param prepare: does what takes long before the first token of a streamed answer can be written, in any thread;
        None where nothing does.
    :param spoiling: how the answer goes wrong, where it is to.
    """

    request: InferenceRequest
    stream_encoder: Callable[[], StreamEncoder] | None
    whole_encoder: Callable[[], WholeEncoder]
    prepare: Callable[[Sequence[TokenizedPrompt]], object] | None = field(default=None, kw_only=True)
    spoiling: Spoiling = field(default=EVENTS, kw_only=True)


class Dialect(Protocol):
    """One API surface."""

    def parse(self, body: bytes, head: Head) -> Call:
        """Read a request.

        :raises vllmsim.errors.InferenceError: when the body is wrong, or the model is not served.
        """


B = TypeVar("B", bound=GenerationBody)


@frozen(eq=False)
class Reading(Generic[B]):
    """One request as it was read, and what every form of its answer has in common.

    :param created: the time that the answer tells, in seconds since the epoch.
    """

    prefix: ClassVar[str]
    """What the answer's id begins with."""

    settings: Settings
    body: B
    request: InferenceRequest
    created: int

    def head(self, kind: str) -> dict[str, Any]:
        """Make the members that every object of the answer begins with."""
        return {
            "id": f"{self.prefix}-{self.request.request_id}",
            "object": kind,
            "created": self.created,
            "model": self.request.model,
        }

    @property
    def choices(self) -> int:
        """How many choices the answer has."""
        return self.request.sampling.n * len(self.request.prompts)

    @property
    def reasons(self) -> bool:
        """Whether an answer may begin with reasoning, whose tokens are then counted apart."""
        return self.settings.reasons

    def served(self, answers: Sequence[Answer]) -> Sequence[Prefill]:
        """List how the prompts that were not refused were computed, each for its first choice."""
        return [answer.prefill for answer in answers[:: self.request.sampling.n] if not answer.refused]

    def handover(self, answer: Answer, choice: int = 0) -> dict[str, Any] | None:
        """Make ``kv_transfer_params`` for a client that will have another server decode; None for any other.

        :param choice: which choice the answer is.
        """
        if not self.body.transfer.handed_over:
            return None
        return self.settings.remote.handover(self.engine_request_id(choice), answer, self.settings.now())

    def engine_request_id(self, choice: int) -> str:
        """Find what the engine calls the request that a choice's prompt is to it."""
        return self.request.answer_id

    def encoded(self, prompts: Sequence[TokenizedPrompt]) -> dict[str, Any] | None:
        """Make ``ec_transfer_params``: where an encoder's outputs for the prompt's media are; None for any other."""
        media = prompts[0].media if self.settings.encoder_only else ()
        return encoder_outputs(span.identifier for span in media) if media else None

    @property
    def shower(self) -> Shower | None:
        """What shows log probabilities, if they are asked for."""
        count = self.request.sampling.logprobs
        as_ids = self.body.return_tokens_as_token_ids
        return None if count is None else Shower(count, self.settings.tokens_as_ids if as_ids is None else as_ids)


class NamedBody(Protocol):
    """What every generating request may say about itself."""

    @property
    def model(self) -> str | None:
        """The name of the model that is to answer."""

    @property
    def request_id(self) -> str | None:
        """The part of the answer's id that follows its prefix."""

    @property
    def transfer(self) -> Transfer:
        """What is to become of the prompt's KV blocks."""

    @property
    def cache_salt(self) -> str | None:
        """Who shares KV blocks with it: requests with the same salt."""

    @property
    def priority(self) -> int | None:
        """Which of those that wait is served first: the one with the lowest; None is 0."""


def request_of(
    settings: Settings,
    head: Head,
    body: NamedBody,
    model: str,
    prompts: tuple[Prompt, ...],
    sampling: Sampling,
    prefix: str,
    form: Form = PLAIN,
    *,
    cut: Cut | None = None,
    reads_cache: bool | None = None,
    threshold: Threshold = USUAL,
    repeats_prompt: bool = False,
) -> InferenceRequest:
    """Make the request that a body asks for.

    Its id is the header's, else the body's, else a new one; its priority the header's, else the body's.

    :param prefix: what the answer's id begins with, without its hyphen; empty where it is what the client says.
    :param cut: how prompts are shortened.
    :param reads_cache: whether it may be served from the prefix cache; None to let the parameters decide: log
        probabilities of a prompt are those of tokens that are computed.
    :param threshold: when the request is to be refused for how little is cached.
    :param repeats_prompt: whether each choice of its answer tells the prompt again.
    :raises InvalidRequest: when a header names a rank or a priority that is none.
    :raises UnknownModel: when the model is served no more.
    """
    rank = read_rank(head, settings)
    priority = (body.priority or 0) if head.priority is None else read_priority(head.priority)
    named, transfer = head.request_id or body.request_id, body.transfer
    return InferenceRequest(
        request_id=named or settings.new_id(),
        named_by_client=bool(named),
        model=model,
        prompts=prompts,
        sampling=sampling,
        remote_prefill=transfer.prefilled,
        prefix=f"{prefix}-" if prefix else "",
        form=form,
        cut=cut,
        cache_salt=body.cache_salt,
        reads_cache=sampling.prompt_logprobs is None if reads_cache is None else reads_cache,
        remote_tokens=transfer.tokens,
        hit_threshold=threshold.share,
        below_threshold=threshold.refuses,
        repeats_prompt=repeats_prompt,
        rank=rank,
        behaviour=settings.behaviour,
        asked=body.model,
        priority=priority,
        adapter=settings.models.use(model),
    )


def read_priority(text: str) -> int:
    """Read how urgent a request is.

    :raises InvalidRequest: when it is no integer of 64 bits.
    """
    try:
        number = int(text)
    except ValueError:
        number = _BEYOND
    if not -_BEYOND <= number < _BEYOND:
        raise InvalidRequest(f"X-Vllm-Priority must be an integer of 64 bits, got {text[:_SHOWN]}.")
    return number


def read_rank(head: Head, settings: Settings) -> int | None:
    """Read which rank a request wants to be served by.

    vLLM counts the ranks of a server from 0, whatever their numbers, and takes what is no number for nothing. A rank's
    own number will do too where it is not taken for another.

    :return: the rank's number; None for any.
    :raises InvalidRequest: when there is none of that number.
    """
    if head.data_parallel_rank is None:
        return None
    try:
        wanted = int(head.data_parallel_rank)
    except ValueError:
        return None
    ranks = settings.ranks
    if 0 <= wanted < len(ranks):
        return ranks[wanted]
    if wanted in ranks:
        return wanted
    raise InvalidRequest(f"data_parallel_rank {wanted} is out of range [0, {len(ranks)}).")


def usage(
    prompt_tokens: int,
    completion_tokens: int,
    prompt_details: dict[str, Any] | None = None,
    completion_details: dict[str, Any] | None = None,
    *,
    nulls: bool,
) -> dict[str, Any]:
    """Count tokens as vLLM shows them.

    :param prompt_details: where the prompt's tokens came from, if that is shown.
    :param completion_details: what the answer's tokens were spent on, if that is shown.
    :param nulls: whether members without a value appear; in streams they do not.
    """
    counts: dict[str, Any] = {
        "prompt_tokens": prompt_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "completion_tokens": completion_tokens,
    }
    if nulls:
        return counts | {"prompt_tokens_details": prompt_details, "completion_tokens_details": completion_details}
    if prompt_details is not None:
        counts["prompt_tokens_details"] = {name: value for name, value in prompt_details.items() if value is not None}
    if completion_details is not None:
        counts["completion_tokens_details"] = completion_details
    return counts


def prompt_details(settings: Settings, prefills: Sequence[Prefill]) -> dict[str, Any] | None:
    """Say where the tokens of prompts came from, if the server shows that.

    :param prefills: how each prompt that was not refused was computed.
    """
    size = settings.block_size
    if not prefills or not settings.prompt_tokens_details:
        return None
    return {
        "cached_tokens": sum(prefill.found for prefill in prefills),
        "created_cache_tokens": None if size is None else sum(prefill.created(size) for prefill in prefills),
        "multimodal_tokens": None,
    }


def all_refused(answers: Sequence[Answer]) -> bool:
    """Tell whether there are choices, and none was served."""
    return bool(answers) and all(answer.refused for answer in answers)


def completion_details(reasoning_tokens: int) -> dict[str, Any]:
    """Say what the answer's tokens were spent on."""
    return {"reasoning_tokens": reasoning_tokens}
