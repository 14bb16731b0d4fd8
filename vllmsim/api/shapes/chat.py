# -*- test-case-name: tests.api.test_shapes -*-
"""The shapes of chat completions, whole and streamed, and of what they share with completions."""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

FinishReason = str
"""``stop``, ``length``, ``tool_calls``, ``cache_threshold`` or ``abort``; an answer made of given tokens has the reason
given with them."""


class PromptTokensDetails(TypedDict):
    """Where the prompt's tokens came from."""

    cached_tokens: NotRequired[int | None]
    created_cache_tokens: NotRequired[int | None]
    multimodal_tokens: NotRequired[int | None]


class CompletionTokensDetails(TypedDict):
    """What the answer's tokens were spent on."""

    reasoning_tokens: int


class Usage(TypedDict):
    """How many tokens were read and made."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int
    prompt_tokens_details: NotRequired[PromptTokensDetails | None]
    completion_tokens_details: NotRequired[CompletionTokensDetails | None]


class PromptLogprob(TypedDict):
    """The log probability of one token in its place in the prompt."""

    logprob: float
    rank: NotRequired[int | None]
    decoded_token: NotRequired[str | None]


PromptLogprobs = list[dict[str, PromptLogprob] | None]
"""By token id, the likely tokens in each place of the prompt; null in the first."""


class AlternativeLogprob(TypedDict):
    """A token that was likely."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(AlternativeLogprob):
    """A token of the answer, and what might have been in its place."""

    top_logprobs: list[AlternativeLogprob]


class ChatLogprobs(TypedDict):
    """Log probabilities of a chat completion's tokens."""

    content: list[TokenLogprob] | None


class CalledFunction(TypedDict):
    """A function and its arguments, which are JSON in a text."""

    name: str
    arguments: str


class ToolCall(TypedDict):
    """A call of a tool."""

    id: str
    type: Literal["function"]
    function: CalledFunction


class ImageAddress(TypedDict):
    """Where an image is."""

    url: str


class ContentBlock(TypedDict):
    """A part of an answer that has an image."""

    type: Literal["text", "image_url"]
    text: NotRequired[str]
    image_url: NotRequired[ImageAddress]


Content = str | list[ContentBlock] | None


class AnswerMessage(TypedDict):
    """What the model says."""

    role: str
    content: Content
    refusal: str | None
    annotations: None
    audio: None
    function_call: None
    tool_calls: NotRequired[list[ToolCall]]
    reasoning: str | None


class ChatChoice(TypedDict):
    """One of the answers."""

    index: int
    message: AnswerMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason
    stop_reason: str | int | None
    token_ids: list[int] | None
    routed_experts: None
    weight_versions: None


class ChatCompletion(TypedDict):
    """A chat completion in one piece."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    service_tier: None
    system_fingerprint: str | None
    usage: Usage
    prompt_logprobs: PromptLogprobs | None
    prompt_token_ids: list[int] | None
    prompt_text: str | None
    kv_transfer_params: dict[str, Any] | None
    ec_transfer_params: dict[str, Any] | None
    metrics: dict[str, Any] | None


class FunctionDelta(TypedDict):
    """A function's name, or a piece of its arguments."""

    name: NotRequired[str]
    arguments: NotRequired[str]


class ToolCallDelta(TypedDict):
    """The beginning of a call, or a piece of it."""

    id: NotRequired[str]
    type: NotRequired[Literal["function"]]
    index: int
    function: FunctionDelta


class Delta(TypedDict):
    """A piece of what the model says."""

    role: NotRequired[str]
    content: NotRequired[Content]
    reasoning: NotRequired[str | None]
    tool_calls: NotRequired[list[ToolCallDelta]]


class ChatChunkChoice(TypedDict):
    """A piece of one of the answers."""

    index: int
    delta: Delta
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason | None
    stop_reason: NotRequired[str | int | None]
    token_ids: NotRequired[list[int] | None]
    weight_versions: NotRequired[None]


class ChatCompletionChunk(TypedDict):
    """A piece of a chat completion."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: NotRequired[Usage | None]
    system_fingerprint: NotRequired[str | None]
    prompt_token_ids: NotRequired[list[int] | None]
    prompt_text: NotRequired[str | None]
    modality: NotRequired[str]
    kv_transfer_params: NotRequired[dict[str, Any] | None]
    metrics: NotRequired[dict[str, Any] | None]
