# -*- test-case-name: tests.scripts.dataset.test_dialogues -*-
"""What is asked and what is answered in one record of the input.

Three forms are known, by their members::

    {"id": "a", "conversations": [{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}, ...]}
    {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}, ...], "tools": [...]}
    {"prompt": "...", "completion": "..."}

The first is ShareGPT's. Of it pairs of a question and an answer are read in order, up to the first turn that is out of
turn; a system turn may come before them. In the second every assistant's turn answers the conversation so far. The
third is a conversation of one pair; both members may be lists of messages, too.

Each answer is kept for what a client may send: the conversation so far, to the chat routes, and the question alone, as
the prompt of a completion. Messages become prompts by the code that reads requests, so that the same messages make the
same tokens here and there.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, get_args

import orjson
from attrs import evolve, frozen

from vllmsim.api.body import Head, read_object, validate
from vllmsim.api.chat import ChatBody
from vllmsim.api.conversation import conversation_of, read_template
from vllmsim.errors import InferenceError
from vllmsim.inference import Conversation, TextPrompt
from vllmsim.scripts.dataset.faults import BadItem

Form: TypeAlias = Literal["sharegpt", "messages", "completions"]
Records: TypeAlias = Literal["both", "chat", "completions"]
FORMS: Final[Sequence[Form]] = get_args(Form)
RECORDS: Final[Sequence[Records]] = get_args(Records)

_MEMBERS: Final[Mapping[str, Form]] = {
    "conversations": "sharegpt",
    "messages": "messages",
    "prompt": "completions",
}
_ROLES: Final = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
_KEPT: Final = ("tools", "documents", "chat_template_kwargs")
"""What else chat templates may know of a conversation."""
_ASKING: Final = {"user", "tool"}
_JSON: Final = Head(content_type="application/json")


@frozen
class Exchange:
    """A prompt, and what is answered.

    :param body: the members of a request that has the prompt.
    :param answer: what the input answers; None if nothing.
    """

    prompt: TextPrompt | Conversation
    body: Mapping[str, Any]
    answer: str | None


@frozen
class Skipped:
    """A turn of which no record is made.

    :param reason: why, in a few words.
    """

    reason: str


def exchanges(value: Any, form: Form | None, records: Records, *, asked: bool) -> Iterator[Exchange | Skipped]:
    """Read a record of the input.

    :param form: what it must be; None to go by its members.
    :param records: for which routes there are to be prompts.
    :param asked: whether answers come from elsewhere, so that a question at the end needs none.
    :raises BadItem: when it has no form that is known.
    """
    body = _request(value, form)
    if not body["messages"]:
        yield Skipped("a conversation without a question at its beginning")
        return
    conversation = _conversation(body)
    turns = conversation.messages
    answers = [index for index, turn in enumerate(turns) if turn.role == "assistant"]
    for index in answers:
        if index == 0:
            yield Skipped("an answer that nothing comes before")
        elif asked:
            yield from _ask(conversation, body, index, None, records)
        elif turns[index].turn.get("tool_calls"):
            yield Skipped("an answer that calls tools")
        elif not turns[index].text:
            yield Skipped("an empty answer")
        else:
            yield from _ask(conversation, body, index, turns[index].text, records)
    if asked and turns[-1].role in _ASKING:
        yield from _ask(conversation, body, len(turns), None, records)
    elif not answers:
        yield Skipped("a conversation without an answer")


def _conversation(body: Mapping[str, Any]) -> Conversation:
    """Make a conversation as a chat request does."""
    try:
        chat = validate(ChatBody, body, b"")
        tools = [tool.model_dump() for tool in chat.tools or ()]
        return conversation_of(chat.messages, read_template(chat, trusted=False, tools=tools))
    except InferenceError as error:
        raise BadItem(error.message) from None


def _ask(
    conversation: Conversation, body: Mapping[str, Any], length: int, answer: str | None, records: Records
) -> Iterator[Exchange | Skipped]:
    """Make the prompts that the first messages of a conversation are."""
    before = conversation.messages[:length]
    if records != "chat" and before[-1].role == "user" and not before[-1].media:
        text = before[-1].text
        if text:
            yield Exchange(TextPrompt(text), {"prompt": text}, answer)
        else:
            yield Skipped("an empty question")
    if records != "completions":
        yield Exchange(evolve(conversation, messages=before), {**body, "messages": body["messages"][:length]}, answer)


def _request(value: Any, form: Form | None) -> Mapping[str, Any]:
    """Write a record as the body of a chat request: with messages, and perhaps tools."""
    if not isinstance(value, Mapping):
        raise BadItem("it is no JSON object")
    value = _written(value)
    found = next((of for member, of in _MEMBERS.items() if member in value), None)
    if found is None:
        raise BadItem(f"it has none of the members {', '.join(_MEMBERS)}")
    if form is not None and form != found:
        raise BadItem(f"it has the form {found}, and not {form}")
    if found == "sharegpt":
        return {"messages": _sharegpt(value["conversations"])}
    if found == "completions":
        return {"messages": [*_side(value, "prompt", "user"), *_side(value, "completion", "assistant")]}
    messages = value["messages"]
    if not isinstance(messages, list):
        raise BadItem("its messages are no list")
    return {"messages": messages} | {member: value[member] for member in _KEPT if value.get(member) is not None}


def _written(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give texts the characters that a request of them would have: halves of surrogate pairs have no UTF-8.

    :raises BadItem: when it is deeper than what a request may have.
    """
    try:
        orjson.dumps(value)
    except TypeError:
        try:
            return read_object(json.dumps(value).encode(), _JSON)
        except (InferenceError, RecursionError) as error:
            raise BadItem(f"it is JSON that cannot be read: {getattr(error, 'message', error)}") from None
    return value


def _sharegpt(turns: Any) -> list[Mapping[str, str]]:
    """Read turns up to the first that is out of turn."""
    if not isinstance(turns, list):
        raise BadItem("its conversations are no list")
    messages: list[Mapping[str, str]] = []
    for turn in turns:
        if not isinstance(turn, Mapping) or not isinstance(turn.get("from"), str):
            raise BadItem("a turn has no speaker in its member from")
        if not isinstance(turn.get("value"), str):
            raise BadItem("a turn has no text in its member value")
        messages.append({"role": _ROLES.get(turn["from"], ""), "content": turn["value"]})
    start = 1 if messages and messages[0]["role"] == "system" else 0
    expected = ("user", "assistant")
    for index in range(start, len(messages)):
        if messages[index]["role"] != expected[(index - start) % 2]:
            return messages[:index]
    return messages


def _side(value: Mapping[str, Any], member: str, role: str) -> list[Any]:
    said = value.get(member)
    if isinstance(said, list):
        return said
    if isinstance(said, str):
        return [{"role": role, "content": said}]
    if said is None and member == "completion":
        return []
    raise BadItem(f"its {member} is neither text nor a list of messages")
