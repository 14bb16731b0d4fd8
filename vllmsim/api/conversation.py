# -*- test-case-name: tests.api.test_conversation -*-
"""Messages of chat requests, flattened to the text of a conversation.

Content is text, a list of blocks, or nothing. Blocks of text and addresses of images become lines of their own; sounds
and films add nothing to the text. Calls of tools follow as ``[name(arguments)]``. Blocks of kinds that are not known
are accepted and say nothing.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from vllmsim.api.body import Body, Listed
from vllmsim.errors import InvalidRequest
from vllmsim.inference import Conversation, Media, MediaKind, Message

Block = str | Mapping[str, Any]

_SOURCES: Final[Mapping[str, tuple[MediaKind, str]]] = {
    "image_url": ("image", "url"),
    "input_audio": ("audio", "data"),
    "audio_url": ("audio", "url"),
    "video_url": ("video", "url"),
}
"""Members of blocks that have media, the kind of these, and where their source is."""


class ChatMessage(Body):
    """One turn. Any role goes."""

    role: str
    content: str | Listed[str | dict[str, Any]] | None = None
    tool_calls: Listed[dict[str, Any]] | None = None
    tool_call_id: str | None = None

    def flat(self) -> Message:
        """Write the turn as text."""
        calls = "".join(map(_call, self.tool_calls or ()))
        if isinstance(self.content, str):
            return Message(self.role, self.content + calls, self.tool_call_id)
        text, media = flatten(self.content or ())
        return Message(self.role, text + calls, self.tool_call_id, media)


def flatten(blocks: Iterable[Block]) -> tuple[str, tuple[Media, ...]]:
    """Write blocks of content as text, and list the media among them."""
    texts: list[str] = []
    media: list[Media] = []
    for block in blocks:
        if isinstance(block, str):
            texts.append(block)
        elif isinstance(text := block.get("text"), str) or isinstance(text := block.get("refusal"), str):
            texts.append(text)
        elif (found := _media(block)) is not None:
            media.append(found)
            if found.kind == "image":
                texts.append(image_text(found.source))
    return "\n".join(texts), tuple(media)


def _media(block: Mapping[str, Any]) -> Media | None:
    for name, (kind, member) in _SOURCES.items():
        value = block.get(name)
        source = value.get(member) if isinstance(value, Mapping) else value
        if isinstance(source, str) and source:
            return Media(kind, source)
    return None


def image_text(source: str) -> str:
    """Write an image's place in the text: its address, or the kind of its data."""
    return f"image: {source.partition(',')[0] if source.startswith('data:') else source}"


def call_text(name: str, arguments: str) -> str:
    """Write the call of a tool."""
    return f"[{name}({arguments})]"


def _call(call: Mapping[str, Any]) -> str:
    function = call.get("function")
    if not isinstance(function, Mapping) or not function.get("name"):
        return ""
    return call_text(str(function["name"]), str(function.get("arguments") or ""))


def conversation_of(messages: Iterable[ChatMessage]) -> Conversation:
    """Make a conversation of a chat request's messages.

    :raises InvalidRequest: when there are none.
    """
    return conversation_from(message.flat() for message in messages)


def conversation_from(messages: Iterable[Message]) -> Conversation:
    """Make a conversation of flat messages.

    :raises InvalidRequest: when there are none.
    """
    turns = tuple(messages)
    if not turns:
        raise InvalidRequest("Cannot apply chat template to an empty conversation. Provide at least one message.")
    return Conversation(turns)


def check_template(
    add_generation_prompt: bool | None, continue_final_message: bool | None, template: str | None = None
) -> None:
    """Check what a request says of the chat template.

    :param template: one that it brings itself.
    :raises InvalidRequest: when it brings one, or the answer is to begin anew and to go on.
    """
    if template is not None:
        raise InvalidRequest(
            "Chat template is passed with request, but --trust-request-chat-template is not set. "
            "Refused request with untrusted chat template."
        )
    if add_generation_prompt and continue_final_message:
        raise InvalidRequest("Cannot set both `continue_final_message` and `add_generation_prompt` to True.")
