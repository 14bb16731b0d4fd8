# -*- test-case-name: tests.api.test_shapes -*-
"""The shapes of Anthropic's messages, whole and streamed."""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use"] | None


class MessagesErrorDetails(TypedDict):
    """What is wrong with a request."""

    type: str
    message: str


class MessagesError(TypedDict):
    """An error in Anthropic's shape."""

    type: Literal["error"]
    error: MessagesErrorDetails


class AnswerTextBlock(TypedDict):
    """Text that the model says."""

    type: Literal["text"]
    text: str


class AnswerThinkingBlock(TypedDict):
    """What the model thinks before it speaks; it is signed at its end."""

    type: Literal["thinking"]
    thinking: str
    signature: NotRequired[str]


class AnswerToolUseBlock(TypedDict):
    """A call of a tool."""

    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]


Block = AnswerTextBlock | AnswerThinkingBlock | AnswerToolUseBlock


class MessagesUsage(TypedDict):
    """How many tokens were read and made."""

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: NotRequired[int]
    cache_read_input_tokens: NotRequired[int]


class AnthropicMessage(TypedDict):
    """A message in one piece."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    content: list[Block]
    model: str
    stop_reason: NotRequired[StopReason]
    stop_sequence: NotRequired[str]
    usage: MessagesUsage
    kv_transfer_params: NotRequired[dict[str, Any]]
    ec_transfer_params: NotRequired[dict[str, Any]]


class BegunMessage(TypedDict):
    """A message before its content."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    content: list[Block]
    model: str
    stop_reason: None
    stop_sequence: None
    usage: MessagesUsage


class MessageStart(TypedDict):
    """A message begins."""

    type: Literal["message_start"]
    message: BegunMessage


class BlockStart(TypedDict):
    """A block begins."""

    type: Literal["content_block_start"]
    content_block: Block
    index: int


class TextDelta(TypedDict):
    """A piece of text."""

    type: Literal["text_delta"]
    text: str


class ThinkingDelta(TypedDict):
    """A piece of thought."""

    type: Literal["thinking_delta"]
    thinking: str


class SignatureDelta(TypedDict):
    """What signs a thought."""

    type: Literal["signature_delta"]
    signature: str


class InputDelta(TypedDict):
    """A piece of a call's arguments."""

    type: Literal["input_json_delta"]
    partial_json: str


class BlockDelta(TypedDict):
    """A block goes on."""

    type: Literal["content_block_delta"]
    delta: TextDelta | ThinkingDelta | SignatureDelta | InputDelta
    index: int


class BlockStop(TypedDict):
    """A block ends."""

    type: Literal["content_block_stop"]
    index: int


class MessageEnd(TypedDict):
    """Why a message ends."""

    stop_reason: StopReason
    stop_sequence: str | None


class MessageDelta(TypedDict):
    """What is known at a message's end."""

    type: Literal["message_delta"]
    delta: MessageEnd
    usage: MessagesUsage
    kv_transfer_params: NotRequired[dict[str, Any]]


class MessageStop(TypedDict):
    """A message ends."""

    type: Literal["message_stop"]


MessageEvent = MessageStart | BlockStart | BlockDelta | BlockStop | MessageDelta | MessageStop | MessagesError


class ContextManagement(TypedDict):
    """What the prompt was before anything was taken out of it."""

    original_input_tokens: int


class TokenCount(TypedDict):
    """How many tokens a prompt has."""

    input_tokens: int
    context_management: ContextManagement
