# -*- test-case-name: tests.api.test_shapes -*-
"""The shapes of completions, whole and streamed."""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from vllmsim.api.shapes.chat import FinishReason, PromptLogprobs, Usage


class CompletionLogprobs(TypedDict):
    """Log probabilities of a completion's tokens, one list per fact."""

    text_offset: list[int]
    token_logprobs: list[float | None]
    tokens: list[str]
    top_logprobs: list[dict[str, float] | None]


class CompletionChoice(TypedDict):
    """One of the completions."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: FinishReason
    stop_reason: str | int | None
    token_ids: list[int] | None
    prompt_logprobs: PromptLogprobs | None
    prompt_token_ids: list[int] | None
    routed_experts: None
    weight_versions: None


class Completion(TypedDict):
    """Completions in one piece."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    service_tier: None
    system_fingerprint: str | None
    usage: Usage
    kv_transfer_params: dict[str, Any] | None
    ec_transfer_params: dict[str, Any] | None
    metrics: dict[str, Any] | None


class CompletionChunkChoice(TypedDict):
    """A piece of one of the completions."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: FinishReason | None
    stop_reason: str | int | None
    prompt_token_ids: list[int] | None
    token_ids: list[int] | None
    weight_versions: None


class CompletionChunk(TypedDict):
    """A piece of a completion."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChunkChoice]
    usage: NotRequired[Usage | None]
    system_fingerprint: NotRequired[str | None]
    kv_transfer_params: NotRequired[dict[str, Any] | None]
    metrics: NotRequired[dict[str, Any] | None]
