# -*- test-case-name: tests.api.responses.test_input -*-
"""Input items of Responses requests, flattened to the messages of a conversation.

A message has content as text or as parts: ``input_text``, ``output_text`` and ``refusal`` are text, ``input_image`` is
a line with its address, ``input_file`` one with its name, ``input_audio`` adds nothing to the text. A
``function_call`` belongs to the assistant's turn before it, if there is one; a ``function_call_output`` is a turn of
its own. ``reasoning`` belongs to the assistant's turn behind it, and says nothing in the text. An ``item_reference``
stands for an item of a stored response.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from attrs import define, field

from vllmsim.api.conversation import call_of, message_of
from vllmsim.errors import InvalidRequest
from vllmsim.inference import Message

Item = Mapping[str, Any]

_TEXTS: Final = frozenset({None, "", "text", "input_text", "output_text"})
_FIELD: Final = "input"


@define(eq=False)
class _Turn:
    """A message in the making.

    :param content: text, or parts in the form of chat requests.
    """

    role: str
    content: str | list[Mapping[str, Any]] = ""
    call_id: str | None = None
    thought: str | None = None
    calls: list[Mapping[str, Any]] = field(factory=list)

    def message(self) -> Message:
        return message_of(self.role, self.content, self.call_id, self.calls, reasoning=self.thought)


@define(eq=False)
class _Conversation:
    """Reads items one after the other.

    :param find: finds an item that is stored, by its id.
    """

    _find: Callable[[str], Item]
    turns: list[_Turn] = field(factory=list)
    _thought: str | None = None
    _referred: set[str] = field(factory=set)

    def add(self, item: Any) -> None:
        if not isinstance(item, Mapping):
            raise InvalidRequest("input items must be objects", _FIELD)
        kind = item.get("type")
        if kind is None:
            kind = "message" if "role" in item else "item_reference" if "id" in item else None
        reader = _READERS.get(kind) if isinstance(kind, str) else None
        if reader is None:
            raise InvalidRequest(f'unsupported input item type "{kind or ""}"', _FIELD)
        reader(self, item)

    def add_message(self, item: Item) -> None:
        content = _content(item.get("content"))
        self._begin(_Turn(_text(item, "role", "a message"), content))

    def add_call(self, item: Item) -> None:
        owner = "a function_call"
        call_id = item.get("call_id")
        call = call_of(
            call_id if isinstance(call_id, str) else None,
            _text(item, "name", owner),
            _text(item, "arguments", owner, ""),
        )
        if not self.turns or self.turns[-1].role != "assistant":
            self._begin(_Turn("assistant"))
        self.turns[-1].calls.append(call)

    def add_output(self, item: Item) -> None:
        call_id = _text(item, "call_id", "a function_call_output")
        if item.get("output") is None:
            raise InvalidRequest("a function_call_output needs an output", _FIELD)
        self._begin(_Turn("tool", _content(item["output"]), call_id))

    def add_reasoning(self, item: Item) -> None:
        """Remember what the model said to itself, for the turn that follows."""
        parts = item.get("content") or item.get("summary")
        texts = [part.get("text") for part in parts if isinstance(part, Mapping)] if isinstance(parts, list) else []
        self._thought = "\n".join(text for text in texts if isinstance(text, str)) or None

    def _begin(self, turn: _Turn) -> None:
        if turn.role == "assistant":
            turn.thought, self._thought = self._thought, None
        self.turns.append(turn)

    def add_reference(self, item: Item) -> None:
        item_id = _text(item, "id", "an item_reference")
        if item_id in self._referred:
            # A short body must not become a conversation of any length.
            raise InvalidRequest(f"item '{item_id}' is referred to twice", _FIELD)
        self._referred.add(item_id)
        self.add(self._find(item_id))


_READERS: Final[Mapping[str, Callable[[_Conversation, Item], None]]] = {
    "message": _Conversation.add_message,
    "function_call": _Conversation.add_call,
    "function_call_output": _Conversation.add_output,
    "reasoning": _Conversation.add_reasoning,
    "item_reference": _Conversation.add_reference,
}


def read_input(items: str | Iterable[Any], find: Callable[[str], Item]) -> tuple[Message, ...]:
    """Read what a request says.

    :param items: a text, which a user says, or items.
    :param find: finds the item that a reference means; it may raise.
    :raises InvalidRequest: when an item is not what it should be.
    """
    if isinstance(items, str):
        return (Message("user", items),)
    conversation = _Conversation(find)
    for item in items:
        conversation.add(item)
    return tuple(turn.message() for turn in conversation.turns)


def _text(item: Item, name: str, owner: str, default: str | None = None) -> str:
    value = item.get(name)
    if value is None:
        value = default
    if not isinstance(value, str):
        raise InvalidRequest(f"{owner} needs a {name}, which is text", _FIELD)
    return value


def _content(content: Any) -> str | list[Mapping[str, Any]]:
    """Write content in the form of chat requests."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise InvalidRequest("content must be text or a list of parts", _FIELD)
    return [_part(part) for part in content]


def _said(text: str) -> Mapping[str, Any]:
    return {"type": "text", "text": text}


def _part(part: Any) -> Mapping[str, Any]:
    if isinstance(part, str):
        return _said(part)
    if not isinstance(part, Mapping):
        raise InvalidRequest("parts of content must be objects", _FIELD)
    kind = part.get("type")
    if not isinstance(kind, str | None):
        kind = str(kind)
    if kind in _TEXTS:
        return _said(_text(part, "text", f"a part of type {kind or 'input_text'}"))
    if kind == "refusal":
        return _said(_text(part, "refusal", "a refusal"))
    if kind == "input_image":
        source = _source(part, ("image_url", "file_id"), "url", "an input_image")
        return {"type": "image_url", "image_url": {"url": source}}
    if kind == "input_audio":
        source = _source(part, ("input_audio", "data"), "data", "an input_audio")
        return {"type": "input_audio", "input_audio": {"data": source}}
    if kind == "input_file":
        named = ("filename", "file_id", "file_url", "file_data")
        return _said(f"file: {_brief(_source(part, named, 'url', 'an input_file'))}")
    raise InvalidRequest(f'unsupported input content type "{kind}"', _FIELD)


def _source(part: Item, names: Iterable[str], inner: str, owner: str) -> str:
    """Find the first of some members that is there: a text, or an object that has one."""
    for name in names:
        value = part.get(name)
        source = value.get(inner) if isinstance(value, Mapping) else value
        if isinstance(source, str) and source:
            return source
    raise InvalidRequest(f"{owner} needs {' or '.join(names)}", _FIELD)


def _brief(source: str) -> str:
    return source.partition(",")[0] if source.startswith("data:") else source
