# -*- test-case-name: tests.api.test_shapes -*-
"""The shapes of responses."""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from vllmsim.api.shapes.chat import AlternativeLogprob, TokenLogprob

ItemStatus = Literal["in_progress", "completed", "incomplete"] | None


class OutputText(TypedDict):
    """Text that the model says."""

    annotations: list[Any]
    text: str
    type: Literal["output_text"]
    logprobs: list[TokenLogprob] | None


class ReasoningText(TypedDict):
    """Text that the model thinks."""

    text: str
    type: Literal["reasoning_text"]


class MessageItem(TypedDict):
    """What the model says."""

    id: str
    content: list[OutputText]
    role: Literal["assistant"]
    status: ItemStatus
    type: Literal["message"]
    phase: str | None


class ReasoningItem(TypedDict):
    """What the model thinks."""

    id: str
    summary: list[Any]
    type: Literal["reasoning"]
    content: list[ReasoningText] | None
    encrypted_content: str | None
    status: ItemStatus


CallItem = TypedDict(
    "CallItem",
    {
        "arguments": str,
        "call_id": str,
        "name": str,
        "type": Literal["function_call"],
        "id": str,
        "async": bool | None,
        "caller": Any,
        "namespace": str | None,
        "status": ItemStatus,
    },
)
"""A call of a function."""

Item = MessageItem | ReasoningItem | CallItem


class Incompleteness(TypedDict):
    """Why a response was cut off."""

    reason: str


class ResponseFault(TypedDict):
    """Why a response failed."""

    code: str
    message: str


class InputTokensDetails(TypedDict):
    """Where the prompt's tokens came from."""

    cached_tokens: int
    cache_write_tokens: int
    input_tokens_per_turn: list[int]
    cached_tokens_per_turn: list[int]


class OutputTokensDetails(TypedDict):
    """What the answer's tokens were spent on."""

    reasoning_tokens: int
    tool_output_tokens: int
    output_tokens_per_turn: list[int]
    tool_output_tokens_per_turn: list[int]


class ResponseUsage(TypedDict):
    """How many tokens were read and made."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class RawMessage(TypedDict):
    """Text with its tokens."""

    message: str
    tokens: list[int]
    type: Literal["raw_message_tokens"]


class ResponseObject(TypedDict):
    """A response, with what the request left open as it took effect."""

    id: str
    created_at: int
    error: NotRequired[ResponseFault]
    incomplete_details: Incompleteness | None
    instructions: str | None
    metadata: dict[str, str] | None
    model: str
    object: Literal["response"]
    output: list[Item]
    parallel_tool_calls: bool
    temperature: float
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    top_p: float
    background: bool
    max_output_tokens: int | None
    max_tool_calls: int | None
    previous_response_id: str | None
    prompt: None
    prompt_cache_options: dict[str, Any] | None
    prompt_cache_key: str | None
    prompt_cache_retention: str | None
    reasoning: dict[str, Any] | None
    safety_identifier: str | None
    service_tier: str
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    text: dict[str, Any] | None
    top_logprobs: int | None
    truncation: str
    usage: ResponseUsage | None
    user: str | None
    metrics: NotRequired[dict[str, Any] | None]
    presence_penalty: float
    frequency_penalty: float
    kv_transfer_params: dict[str, Any] | None
    ec_transfer_params: dict[str, Any] | None
    input_messages: list[RawMessage] | None
    output_messages: list[RawMessage] | None


class ResponseChanged(TypedDict):
    """A response begins, or ends."""

    response: ResponseObject
    sequence_number: int
    type: Literal[
        "response.created", "response.in_progress", "response.completed", "response.incomplete", "response.failed"
    ]


class ItemChanged(TypedDict):
    """An item begins, or ends."""

    item: Item
    output_index: int
    sequence_number: int
    type: Literal["response.output_item.added", "response.output_item.done"]


class PartChanged(TypedDict):
    """A part of an item begins, or ends."""

    content_index: int
    item_id: str
    output_index: int
    part: OutputText | ReasoningText
    sequence_number: int
    type: Literal["response.content_part.added", "response.content_part.done"]


class LikelyToken(TypedDict):
    """A token that was likely."""

    token: str
    logprob: float


class DeltaLogprob(LikelyToken):
    """A token of a piece of text, and what might have been in its place."""

    top_logprobs: list[LikelyToken]


class OutputTextDelta(TypedDict):
    """A piece of text."""

    content_index: int
    delta: str
    item_id: str
    logprobs: list[DeltaLogprob]
    output_index: int
    sequence_number: int
    type: Literal["response.output_text.delta"]


class ReasoningTextDelta(TypedDict):
    """A piece of thought."""

    content_index: int
    delta: str
    item_id: str
    output_index: int
    sequence_number: int
    type: Literal["response.reasoning_text.delta"]


class ArgumentsDelta(TypedDict):
    """A piece of a call's arguments."""

    delta: str
    item_id: str
    output_index: int
    sequence_number: int
    type: Literal["response.function_call_arguments.delta"]


class OutputTextDone(TypedDict):
    """A whole text."""

    content_index: int
    item_id: str
    logprobs: list[AlternativeLogprob]
    output_index: int
    sequence_number: int
    text: str
    type: Literal["response.output_text.done"]


class ReasoningTextDone(TypedDict):
    """A whole thought."""

    content_index: int
    item_id: str
    output_index: int
    sequence_number: int
    text: str
    type: Literal["response.reasoning_text.done"]


class ArgumentsDone(TypedDict):
    """A call's whole arguments."""

    arguments: str
    item_id: str
    output_index: int
    sequence_number: int
    type: Literal["response.function_call_arguments.done"]
    name: str


class ResponseError(TypedDict):
    """What went wrong."""

    type: Literal["error"]
    code: str
    message: str
    param: str | None
    sequence_number: int


ResponseEvent = (
    ResponseChanged
    | ItemChanged
    | PartChanged
    | OutputTextDelta
    | ReasoningTextDelta
    | ArgumentsDelta
    | OutputTextDone
    | ReasoningTextDone
    | ArgumentsDone
    | ResponseError
)
