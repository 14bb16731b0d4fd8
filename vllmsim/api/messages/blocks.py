# -*- test-case-name: tests.api.messages.test_blocks -*-
"""Messages of Anthropic requests, made of blocks, and the turns of a conversation that they are for a chat model.

Text and images are content as in chat requests. ``tool_use`` is a call, written behind the content. Each
``tool_result`` is a turn of its own, whose role is ``tool``, behind the message that has it. What a model said to
itself (``thinking``), documents, search results, and blocks of kinds that are not known say nothing.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import Discriminator, Tag

from vllmsim.api.body import Body, Listed
from vllmsim.api.conversation import call_of, conversation_from, message_of
from vllmsim.errors import InvalidRequest
from vllmsim.inference import Conversation, Message

_BILLING: Final = "x-anthropic-billing-header"
"""How a block of a system prompt begins that tells a client's build, which differs from request to request. It is
dropped, because prompts would have no beginning in common otherwise."""


class _Block(Body):
    type: str


class TextBlock(_Block):
    """Text."""

    text: str | None = None


class ImageBlock(_Block):
    """An image: its data in base64, or its address."""

    source: dict[str, Any] | None = None


class ToolUseBlock(_Block):
    """A call of a tool that the model has made."""

    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None


class ToolResultBlock(_Block):
    """What came of a call."""

    tool_use_id: str | None = None
    content: str | Listed[dict[str, Any]] | None = None
    is_error: bool | None = None


class OtherBlock(_Block):
    """A block that says nothing to the model, but for what the model said to itself, which some templates show."""

    thinking: Any = None


_KNOWN: Final = frozenset({"text", "image", "tool_use", "tool_result"})


def _kind(block: Any) -> str:
    kind = block.get("type") if isinstance(block, dict) else None
    return kind if isinstance(kind, str) and kind in _KNOWN else "other"


ContentBlock = Annotated[
    Annotated[TextBlock, Tag("text")]
    | Annotated[ImageBlock, Tag("image")]
    | Annotated[ToolUseBlock, Tag("tool_use")]
    | Annotated[ToolResultBlock, Tag("tool_result")]
    | Annotated[OtherBlock, Tag("other")],
    Discriminator(_kind),
]
Content = str | Listed[ContentBlock]


class BlockMessage(Body):
    """One turn."""

    role: Literal["user", "assistant", "system"]
    content: Content

    def turns(self) -> Iterator[Message]:
        """Write the message as turns of text.

        :raises InvalidRequest: when an image has no source.
        """
        if self.role == "system":
            if text := system_text(self.content):
                yield Message("system", text)
        elif isinstance(self.content, str):
            yield Message(self.role, self.content)
        else:
            yield from _turns(self.role, self.content)


def system_text(content: Content) -> str:
    """Join what a system prompt says; all of its blocks are one text."""
    if isinstance(content, str):
        return content
    texts = (block.text for block in content if isinstance(block, TextBlock) and block.text)
    return "".join(text for text in texts if not text.startswith(_BILLING))


def conversation_of_blocks(system: Content | None, messages: Sequence[BlockMessage]) -> Conversation:
    """Make a conversation of a system prompt and messages.

    :raises InvalidRequest: when nothing is left of them, or an image has no source.
    """
    prompt = system_text(system or "")
    first = [Message("system", prompt)] if prompt else []
    return conversation_from([*first, *(turn for message in messages for turn in message.turns())])


def _turns(role: str, blocks: Iterable[_Block]) -> Iterator[Message]:
    said: list[Mapping[str, Any]] = []
    calls: list[Mapping[str, Any]] = []
    thoughts: list[str] = []
    results: list[Message] = []
    for block in blocks:
        if isinstance(block, TextBlock):
            said += _text(block.text)
        elif isinstance(block, ImageBlock):
            said.append(_image(block.source))
        elif isinstance(block, ToolUseBlock):
            calls.append(call_of(block.id, block.name or "", _compact(block.input or {})))
        elif isinstance(block, ToolResultBlock):
            results.append(_result(block))
        elif isinstance(block, OtherBlock) and isinstance(block.thinking, str):
            thoughts.append(block.thinking)
    if said or calls or role == "assistant":
        yield message_of(role, said, calls=calls, reasoning="".join(thoughts) or None)
    yield from results


def _text(text: object) -> list[Mapping[str, Any]]:
    """Make a block as chat requests have it; none for nothing."""
    return [{"type": "text", "text": text}] if isinstance(text, str) and text else []


def _image(source: object) -> Mapping[str, Any]:
    if not isinstance(source, Mapping) or not source:
        raise InvalidRequest("image content block is missing required 'source' field")
    address = source.get("url")
    if source.get("type") != "url":
        data = source.get("data")
        address = f"data:{source.get('media_type') or 'image/jpeg'};base64,{data}" if data else None
    if not isinstance(address, str) or not address:
        raise InvalidRequest("The source of an image content block must have base64 'data' or a 'url'.")
    return {"type": "image_url", "image_url": {"url": address}}


def _result(block: ToolResultBlock) -> Message:
    said: list[Mapping[str, Any]] = []
    for part in [{"type": "text", "text": block.content}] if isinstance(block.content, str) else block.content or ():
        if part.get("type") == "text":
            said += _text(part.get("text"))
        elif part.get("type") == "image":
            said.append(_image(part.get("source")))
    return message_of("tool", said, block.tool_use_id)


def _compact(value: Mapping[str, Any]) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        pass
    # Integers beyond 64 bits, or deeper than this library goes.
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        raise InvalidRequest("The input of a tool_use content block is nested too deeply.") from None
