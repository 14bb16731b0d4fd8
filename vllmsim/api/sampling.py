# -*- test-case-name: tests.api.test_sampling -*-
"""The fields that generating requests share, and the checks that vLLM makes before it looks at types."""

from collections.abc import Mapping, Sized
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field

from vllmsim.api.body import Body, Listed
from vllmsim.api.structuredoutputs import AnyResponseFormat, StructuredOutputs, check_outputs
from vllmsim.api.transfer import Transfer, TransferParams, transfer_of
from vllmsim.errors import InvalidParameter, InvalidRequest
from vllmsim.inference import Cut
from vllmsim.sampling import Sampling

Int64 = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
MOST_STOPS: Final = 4
"""The most stop strings (vLLM's ``VLLM_MAX_STOP_STRINGS``)."""
Stops = Annotated[list[str], Field(max_length=MOST_STOPS)]

_SALT_LENGTH: Final = 128


def _only_wrong(value: Any) -> Any:
    """Leave of a map of numbers the first entry that is none, so that no others are reported: there may be many."""
    if isinstance(value, Mapping):
        for key, number in value.items():
            try:
                float(number)
            except (TypeError, ValueError, OverflowError):
                return {key: number}
    return value


Numbers = Annotated[dict[str, float], BeforeValidator(_only_wrong)]


class StreamOptions(Body):
    """What a stream carries beside the text."""

    include_usage: bool | None = False
    continuous_usage_stats: bool | None = False


class GenerationBody(Body):
    """Fields that mean the same in every generating request. Unknown ones are ignored."""

    model: str | None = None
    seed: Int64 | None = None
    stop: str | Stops | None = None
    stream: bool | None = False
    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: Numbers | None = None
    user: str | None = None

    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    stop_token_ids: Listed[int] | None = None
    ignore_eos: bool | None = False
    skip_special_tokens: bool | None = None
    structured_outputs: StructuredOutputs | None = None
    priority: Int64 | None = 0
    request_id: str | None = None
    return_tokens_as_token_ids: bool | None = None
    cache_salt: str | None = None
    kv_transfer_params: TransferParams | None = None

    def sampling(self, max_tokens: int | None, logprobs: int | None, **more: Any) -> Sampling:
        """Collect the sampling parameters, with vLLM's defaults for those not given.

        :param more: what else the kind of request has.
        :raises InvalidRequest: when `logit_bias` has a key that is no token id.
        """
        stop = self.stop
        return Sampling(
            max_tokens=max_tokens,
            stop=() if stop is None else (stop,) if isinstance(stop, str) else tuple(stop),
            stop_token_ids=tuple(self.stop_token_ids or ()),
            ignore_eos=bool(self.ignore_eos),
            seed=self.seed,
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            top_k=self.top_k or 0,
            min_p=self.min_p or 0.0,
            repetition_penalty=1.0 if self.repetition_penalty is None else self.repetition_penalty,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            logprobs=logprobs,
            logit_bias=tuple(map(_token_id, self.logit_bias or ())),
            **more,
        )

    @property
    def transfer(self) -> Transfer:
        """What is to become of the prompt's KV blocks."""
        return transfer_of(self.kv_transfer_params)


class SamplingBody(GenerationBody):
    """Fields that chat and completion requests have beside those."""

    n: int | None = 1
    stream_options: StreamOptions | None = None
    response_format: AnyResponseFormat | None = None

    use_beam_search: bool | None = False
    length_penalty: float | None = 1.0
    include_stop_str_in_output: bool | None = False
    min_tokens: int | None = 0
    spaces_between_special_tokens: bool | None = True
    truncate_prompt_tokens: Annotated[int, Field(ge=-1)] | None = None
    truncation_side: Literal["left", "right"] | None = None
    allowed_token_ids: Listed[int] | None = None
    bad_words: Listed[str] | None = None
    prompt_logprobs: int | None = None
    echo: bool | None = False
    add_special_tokens: bool | None = None
    return_token_ids: bool | None = None
    vllm_xargs: dict[str, Any] | None = None
    stream_interval: Annotated[int, Field(ge=1)] | None = None
    cache_hit_threshold: float | None = None

    @property
    def cut(self) -> Cut | None:
        """How the prompt is to be shortened: unless the request says otherwise, its end is what stays."""
        tokens = self.truncate_prompt_tokens
        return None if tokens is None else Cut(tokens, self.truncation_side or "left")

    def sampling(self, max_tokens: int | None, logprobs: int | None, **more: Any) -> Sampling:
        """Collect the sampling parameters; see :meth:`GenerationBody.sampling`."""
        allowed = self.allowed_token_ids
        return super().sampling(
            max_tokens,
            logprobs,
            n=1 if self.n is None else self.n,
            min_tokens=self.min_tokens or 0,
            include_stop_str_in_output=bool(self.include_stop_str_in_output),
            prompt_logprobs=self.prompt_logprobs,
            allowed_token_ids=None if allowed is None else tuple(allowed),
            **more,
        )


def _token_id(key: str) -> int:
    try:
        return int(key)
    except ValueError as error:
        raise InvalidRequest(str(error)) from None


def check_options(data: Mapping[str, Any]) -> None:
    """Check what vLLM checks on the raw body, before the types.

    :raises InvalidRequest: for fields that contradict each other.
    """
    if data.get("stream_options") and not data.get("stream"):
        raise InvalidParameter("Stream options can only be defined when `stream=True`.", "stream_options")
    prompt_logprobs = data.get("prompt_logprobs")
    if isinstance(prompt_logprobs, int):
        if data.get("stream") and prompt_logprobs:
            raise InvalidParameter("`prompt_logprobs` are not available when `stream=True`.", "prompt_logprobs")
        check_logprobs("prompt_logprobs", prompt_logprobs)
    check_salt(data.get("cache_salt"))
    if data.get("use_beam_search") and data.get("stream"):
        raise InvalidRequest("Streaming is not currently supported with beam search")
    check_outputs(data)


def check_logprobs(name: str, value: object) -> None:
    """Check a number of alternatives.

    :raises InvalidParameter: when it is negative and not -1.
    """
    if isinstance(value, int) and value < -1:
        raise InvalidParameter(f"`{name}` must be a positive value or -1.", name, value)


def check_stops(stops: Sized) -> None:
    """Check how many stop strings a call of gRPC has, whose messages do not say how many there may be.

    :raises InvalidParameter: when there are too many.
    """
    if len(stops) > MOST_STOPS:
        raise InvalidParameter(f"stop must have at most {MOST_STOPS} strings, got {len(stops)}.", "stop", len(stops))


def check_salt(salt: object) -> None:
    """Check what keeps prefixes of one client from another.

    :raises InvalidParameter: when it is not a short text without separators.
    """
    if salt is None:
        return
    if not isinstance(salt, str) or not salt:
        raise InvalidParameter("Parameter 'cache_salt' must be a non-empty string if provided.", "cache_salt")
    if len(salt) > _SALT_LENGTH or set(salt) & set("@/\\\0"):
        raise InvalidParameter(
            f"Parameter 'cache_salt' must be at most {_SALT_LENGTH} characters and must not contain "
            r"'@', '/', '\\', or NUL.",
            "cache_salt",
        )
