# -*- test-case-name: tests.tokenization.chat.test_turns -*-
"""Messages as clients send them become messages as chat templates take them, as in vLLM.

Content is one text, its parts on lines of their own, or it is a list of parts, as the template wants it. Of media only
the kind is told: what a model's processor puts in their place is the model's own. Arguments of calls of tools, which
are JSON text in OpenAI's form, become objects; those that are none become empty.
"""

import json
from collections.abc import Iterable, Mapping
from json.scanner import py_make_scanner  # type: ignore[attr-defined] # not annotated
from typing import Any, Final, TypeAlias

Turn: TypeAlias = dict[str, Any]

_TEXTS: Final[Mapping[str, str]] = {
    "text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal", "thinking": "thinking",
}  # fmt: skip
"""Kinds of parts that are text, and the member that has it."""
_MEDIA: Final[Mapping[str, str]] = {
    "image_url": "image", "input_image": "image", "image_pil": "image", "image_embeds": "image",
    "audio_url": "audio", "input_audio": "audio", "audio_embeds": "audio",
    "video_url": "video", "video_embeds": "video",
    "image": "image", "audio": "audio", "video": "video",
}  # fmt: skip

_LONG: Final = 1 << 16
_DECODER: Final = json.JSONDecoder()
_PATIENT: Final = json.JSONDecoder()
# The one that is written in Python lets other threads run meanwhile.
_PATIENT.scan_once = py_make_scanner(_PATIENT)  # type: ignore[attr-defined] # not annotated


class RefusedError(ValueError):
    """A conversation that cannot be rendered; its text is for the client."""


def turns_for(turns: Iterable[Mapping[str, Any]], *, parts: bool, developers: bool) -> list[Turn]:
    """Prepare messages for a template.

    :param turns: messages in OpenAI's form, which are not changed.
    :param parts: whether the template takes content in parts.
    :param developers: whether it knows the role; to others they are the system.
    :raises RefusedError: for a call of something that is no function.
    """
    messages = [_turn(turn, parts=parts) for turn in turns]
    if not developers and any(message["role"] == "developer" for message in messages):
        return _one_system([_as_system(message) for message in messages])
    return messages


def _turn(turn: Mapping[str, Any], *, parts: bool) -> Turn:
    role = turn["role"]
    content = _parts(turn.get("content"))
    message: Turn = {"role": role, "content": content if parts else _joined(content)}
    if role == "assistant":
        if calls := turn.get("tool_calls"):
            message["tool_calls"] = [_call(call) for call in calls]
        reasoning = turn.get("reasoning")
        if reasoning is None:
            reasoning = turn.get("reasoning_content")
        if reasoning is not None:
            message["reasoning"] = message["reasoning_content"] = reasoning
    elif role == "tool":
        if turn.get("tool_call_id") is not None:
            message["tool_call_id"] = turn["tool_call_id"]
        if all(part["type"] == "text" for part in content):
            message["content"] = _joined(content)
    elif role == "developer":
        message["tools"] = turn.get("tools")
    if isinstance(turn.get("name"), str):
        message["name"] = turn["name"]
    return message


def _parts(content: object) -> list[Turn]:
    if content is None:
        return []
    if not isinstance(content, list | tuple):
        return [{"type": "text", "text": str(content)}]
    return [part for part in map(_part, content) if part]


def _part(part: object) -> Turn | None:
    """Read a part; nothing if it says nothing that is known here."""
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if not isinstance(part, Mapping):
        return None
    kind = part.get("type")
    if not isinstance(kind, str) or (kind not in _MEDIA and kind not in _TEXTS):
        kind = next((name for name in (*_MEDIA, *_TEXTS) if part.get(name) is not None), "")
    if kind in _MEDIA:
        return {"type": _MEDIA[kind]}
    said = part.get(_TEXTS[kind]) if kind in _TEXTS else None
    return None if said is None else {"type": "text", "text": str(said)}


def _joined(content: Iterable[Turn]) -> str:
    return "\n".join(part["text"] for part in content if part.get("text"))


def _call(call: object) -> Turn:
    if not isinstance(call, Mapping):
        raise RefusedError("assistant tool_calls entries must be objects. (parameter=tool_calls)")
    function = call.get("function")
    if call.get("type", "function") != "function" or not isinstance(function, Mapping):
        raise RefusedError(
            "chat completions only support assistant tool_calls of type 'function'. (parameter=tool_calls)"
        )
    return {**call, "function": {**function, "arguments": _arguments(function.get("arguments"))}}


def _arguments(given: object) -> object:
    if isinstance(given, str):
        try:
            given = (_PATIENT if len(given) > _LONG else _DECODER).decode(given)
        except (ValueError, RecursionError):
            return {}
    return given if isinstance(given, dict) else {}


def _as_system(message: Turn) -> Turn:
    if message["role"] != "developer":
        return message
    return {name: value for name, value in message.items() if name != "tools"} | {"role": "system"}


def _one_system(messages: list[Turn]) -> list[Turn]:
    """Make one message of all that the system says and put it in front, where templates look for it."""
    system = [place for place, message in enumerate(messages) if message["role"] == "system"]
    if system == [0]:
        return messages
    said = [messages[place]["content"] for place in system]
    texts = [
        text if isinstance(text, str) else "\n".join(part["text"] for part in text if "text" in part) for text in said
    ]
    others = [message for message in messages if message["role"] != "system"]
    return [{"role": "system", "content": "\n\n".join(filter(None, texts))}, *others]
