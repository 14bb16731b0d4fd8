# -*- test-case-name: tests.api.test_conversation -*-
"""Messages of chat requests, flattened to the text of a conversation.

Content is text, a list of blocks, or nothing. Blocks of text and addresses of images become lines of their own; sounds
and films add nothing to the text. Calls of tools follow as ``[name(arguments)]``. Blocks of kinds that are not known
are accepted and say nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from vllmsim.api.body import Body, Listed
from vllmsim.errors import InvalidRequest
from vllmsim.inference import PLAIN_TEMPLATE, Conversation, Media, MediaKind, Message, Template

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
    name: Any = None
    reasoning: Any = None
    reasoning_content: Any = None

    def flat(self) -> Message:
        """Write the turn as text."""
        thought = self.reasoning if self.reasoning is not None else self.reasoning_content
        return message_of(
            self.role,
            self.content or "",
            self.tool_call_id,
            self.tool_calls or (),
            reasoning=thought if isinstance(thought, str) else None,
            name=self.name if isinstance(self.name, str) else None,
        )


def message_of(
    role: str,
    content: str | Sequence[Block],
    tool_call_id: str | None = None,
    calls: Sequence[Mapping[str, Any]] = (),
    **more: str | None,
) -> Message:
    """Make a message, both flat and as chat templates read it.

    :param content: text, or blocks.
    :param calls: the calls of tools that follow, in the form of chat requests.
    :param more: further members that templates may know, but for those that are None.
    """
    text, media = (content, ()) if isinstance(content, str) else flatten(content)
    turn: dict[str, Any] = {"role": role, "content": content}
    if tool_call_id is not None:
        turn["tool_call_id"] = tool_call_id
    if calls:
        turn["tool_calls"] = calls
    turn |= {name: value for name, value in more.items() if value is not None}
    return Message(role, text + "".join(map(_call, calls)), tool_call_id, media, turn)


def call_of(call_id: str | None, name: str, arguments: str) -> Mapping[str, Any]:
    """Make the call of a tool in the form of chat requests."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


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


def conversation_of(messages: Iterable[ChatMessage], template: Template = PLAIN_TEMPLATE) -> Conversation:
    """Make a conversation of a chat request's messages.

    :raises InvalidRequest: when there are none.
    """
    return conversation_from((message.flat() for message in messages), template)


def conversation_from(messages: Iterable[Message], template: Template = PLAIN_TEMPLATE) -> Conversation:
    """Make a conversation of flat messages.

    :raises InvalidRequest: when there are none.
    """
    turns = tuple(messages)
    if not turns:
        raise InvalidRequest("Cannot apply chat template to an empty conversation. Provide at least one message.")
    return Conversation(turns, template)


def read_template(
    body: Body, *, trusted: bool, effort: str | None = None, tools: Sequence[Mapping[str, Any]] | None = None
) -> Template:
    """Collect what a request says of the chat template.

    :param body: has those of the members ``add_generation_prompt``, ``continue_final_message``, ``chat_template``,
        ``chat_template_kwargs``, ``documents`` and ``add_special_tokens`` that its route knows.
    :param trusted: whether it may bring a template of its own.
    :param effort: how much the model is to think, if the request says.
    :raises InvalidRequest: when it brings one and may not, or the answer is to begin anew and to go on.
    """
    arguments: Mapping[str, Any] = getattr(body, "chat_template_kwargs", None) or {}
    source = getattr(body, "chat_template", None)
    if not trusted and (source is not None or arguments.get("chat_template") is not None):
        raise InvalidRequest(
            "Chat template is passed with request, but --trust-request-chat-template is not set. "
            "Refused request with untrusted chat template."
        )
    begins = getattr(body, "add_generation_prompt", True)
    goes_on = bool(getattr(body, "continue_final_message", None))
    if begins and goes_on:
        raise InvalidRequest("Cannot set both `continue_final_message` and `add_generation_prompt` to True.")
    documents = getattr(body, "documents", None)
    special = bool(getattr(body, "add_special_tokens", None))
    if begins and not (arguments or effort or tools or documents or special or source is not None):
        return PLAIN_TEMPLATE
    return Template(
        begins=bool(begins),
        goes_on=goes_on,
        source=source,
        tools=tuple(tools) if tools else None,
        documents=tuple(documents) if documents else None,
        arguments=arguments if effort is None else {"reasoning_effort": effort, **arguments},
        special=special,
    )
