# -*- test-case-name: tests.api.test_shapes -*-
"""The shapes of what servers that share the work of an answer tell each other."""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from vllmsim.api.shapes.chat import (
    AnswerMessage,
    ChatCompletionChunk,
    ChatLogprobs,
    Delta,
    FinishReason,
    PromptLogprobs,
    Usage,
)
from vllmsim.api.shapes.completions import CompletionChunk

OutputMode = Literal["tokens", "text", "derender"]


class WeightVersion(TypedDict):
    """Which weights made which tokens."""

    version: str
    start: int
    end: int


class TokenPlace(TypedDict):
    """Where the tokens of an image, a sound or a film are in the prompt."""

    offset: int
    length: int


class AlternativeId(TypedDict):
    """A token that was likely, by its id."""

    token_id: int
    logprob: float
    rank: int | None


class LikelyId(AlternativeId):
    """A token of the answer by its id, and what might have been in its place."""

    top_logprobs: list[AlternativeId]


class GenerateLogprobs(TypedDict):
    """Log probabilities of tokens by id."""

    content: list[LikelyId]


class GeneratedChoice(TypedDict):
    """Tokens of one of the answers."""

    index: int
    finish_reason: FinishReason | None
    stop_reason: str | int | None
    token_ids: list[int] | None
    routed_experts: None
    sampling_mask: None
    weight_versions: list[WeightVersion] | None
    text: NotRequired[str]
    message: NotRequired[AnswerMessage]
    delta: NotRequired[Delta]
    logprobs: GenerateLogprobs | ChatLogprobs | None


class Generated(TypedDict):
    """Token ids for token ids."""

    request_id: str
    model: str
    created: int
    usage: Usage
    prompt_logprobs: PromptLogprobs | None
    prompt_token_id_logprobs: None
    prompt_token_ids: list[int] | None
    mm_placeholders: dict[str, list[TokenPlace]] | None
    metrics: dict[str, Any] | None
    kv_transfer_params: dict[str, Any] | None
    ec_transfer_params: dict[str, Any] | None
    output_mode: OutputMode
    choices: list[GeneratedChoice]


class GeneratedChunk(TypedDict):
    """A piece of them."""

    request_id: str
    usage: Usage | None
    prompt_token_ids: NotRequired[list[int] | None]
    mm_placeholders: NotRequired[dict[str, list[TokenPlace]] | None]
    output_mode: OutputMode
    choices: list[GeneratedChoice]
    kv_transfer_params: NotRequired[dict[str, Any]]


class MediaFeatures(TypedDict):
    """The media of a prompt, by kind."""

    mm_hashes: dict[str, list[str]]
    mm_placeholders: dict[str, list[TokenPlace]]
    kwargs_data: dict[str, list[str]] | None
    mm_metadata: None


class RenderedRequest(TypedDict):
    """The generate request that another request would become."""

    request_id: str
    token_ids: list[int]
    token_offsets: None
    features: MediaFeatures | None
    content_parts: None
    sampling_params: dict[str, Any]
    model: str
    reasoning_ended: bool | None
    reasoning_parser_kwargs: dict[str, Any] | None
    return_token_ids: bool | None
    output_mode: OutputMode
    parse_context: dict[str, Any] | None
    stream: bool
    stream_options: dict[str, Any] | None
    cache_salt: str | None
    priority: int
    kv_transfer_params: dict[str, Any] | None
    ec_transfer_params: dict[str, Any] | None


class CarriedState(TypedDict):
    """What a client carries from one chunk to the next."""

    prev_tokens: list[str]
    prefix_offset: int
    read_offset: int
    role_sent: bool
    logprob_context_token_ids: list[int]
    logprob_text_offset: int
    output_token_ids: list[int]
    output_chunk_lens: list[int]
    tools_streamed: bool
    last_tool_call_ids: list[str]


class DerenderedChatChunk(TypedDict):
    """The chunk of a chat completion that a generated chunk is."""

    chunk: ChatCompletionChunk
    stream_state: CarriedState


class DerenderedCompletionChunk(TypedDict):
    """The chunk of a completion that a generated chunk is."""

    chunk: CompletionChunk
    stream_state: CarriedState
