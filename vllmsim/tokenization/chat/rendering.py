# -*- test-case-name: tests.tokenization.chat.test_rendering -*-
"""Chat templates in Jinja's language, rendered as transformers renders them.

It knows Jinja and JSON and nothing else of ours, because templates that requests bring are rendered by a process of
their own, which should start at once.
"""

import json
import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final, NoReturn

from jinja2 import Environment, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from vllmsim.tokenization.chat.contents import content_format
from vllmsim.tokenization.chat.turns import RefusedError, Turn, turns_for

_REASONING: Final = ("reasoning_content", "thinking", "reasoning")
_MARK: Final = "CONTINUE_FINAL_MESSAGE_TAG "
"""Written behind the last message while it is rendered, to find where it ends. Templates may cut the blank off."""
_AT_ONCE: Final = 4096

hurried: Final = ContextVar("hurried", default=True)
"""Whether JSON is written at one go, which is fast and lets no other thread run meanwhile."""


class _Generation(Extension):
    """The tag around what the model says, which marks it for training and means nothing here."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("said"), [], [], body).set_lineno(line)

    def said(self, caller: Macro) -> str:
        """Give what stands in the tag."""
        return caller()


class _Dictionaries:
    """What templates know as ``dict``, without the attributes of a class."""

    def __call__(self, *values: Any, **members: Any) -> dict[Any, Any]:
        return dict(*values, **members)

    def fromkeys(self, *arguments: Any) -> dict[Any, Any]:
        """Make a dictionary of equal values."""
        return dict.fromkeys(*arguments)


class _Namespace(Namespace):
    """A namespace that keeps no names with underscores in front."""

    def __init__(*arguments: Any, **members: Any) -> None:
        self, rest = arguments[0], arguments[1:]
        Namespace.__init__(self)
        for name, value in dict(*rest, **members).items():
            self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        if isinstance(name, str) and name.startswith("_"):
            raise SecurityError(f"A namespace keeps no name that begins with an underscore, such as {name!r}.")
        super().__setitem__(name, value)


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,  # noqa: FBT002 - templates may give all of these by place
    indent: Any = None,
    separators: Any = None,
    sort_keys: bool = False,  # noqa: FBT002
) -> str:
    """Write JSON as Python does, so that no character of HTML is escaped."""
    encoder = json.JSONEncoder(ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    if hurried.get():
        return encoder.encode(value)
    pieces = encoder.iterencode(value)
    return "".join(iter(lambda: "".join(islice(pieces, _AT_ONCE)), ""))


def make_environment(epoch: Callable[[], float]) -> Environment:
    """Make what compiles templates.

    :param epoch: tells seconds since the epoch.
    """

    def strftime_now(form: str) -> str:
        return datetime.fromtimestamp(epoch(), UTC).astimezone().replace(tzinfo=None).strftime(form)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals.update(
        raise_exception=_raise_exception, strftime_now=strftime_now, dict=_Dictionaries(), namespace=_Namespace
    )
    return environment


class Renderer:
    """One template.

    :param source: the template.
    :param form: how it takes what messages say: ``string``, ``openai`` for parts, or ``auto`` to look.
    :raises RefusedError: when it is no template.
    """

    def __init__(self, environment: Environment, source: str, form: str) -> None:
        try:
            self._template = environment.from_string(source)
            self.form = content_format(environment.parse(source)) if form == "auto" else form
        except Exception as error:
            raise RefusedError(f"{type(error).__name__}: {error}") from error
        self.source = source
        self._knows_developers = bool(re.search("""(["'])developer\\1""", source))

    def render(
        self,
        turns: list[Mapping[str, Any]],
        *,
        tools: list[Any] | None = None,
        documents: list[Any] | None = None,
        begins: bool = True,
        goes_on: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """Apply the template to a conversation.

        :param turns: messages in OpenAI's form.
        :param begins: whether the text ends where an answer begins.
        :param goes_on: whether it ends where the last message does.
        :param variables: whatever else the template may ask for.
        :raises RefusedError: when the template refuses, or cannot take the conversation.
        """
        try:
            messages = turns_for(turns, parts=self.form == "openai", developers=self._knows_developers)
            messages = [_with_reasoning(message) for message in messages]
            last = self._mark(messages[-1]) if goes_on else None
            text = self._template.render(
                messages=messages,
                tools=tools,
                documents=documents,
                add_generation_prompt=begins,
                **(variables or {}),
            )
            return text if last is None else _cut(text, last)
        except RefusedError:
            raise
        # A template may do whatever an expression can.
        except Exception as error:
            raise RefusedError(str(error) or type(error).__name__) from error

    def _mark(self, message: Turn) -> str:
        """Mark where a message ends.

        :return: what it says.
        """
        content = message["content"]
        if "content" not in self.source:
            raise RefusedError(
                'continue_final_message is set to "content" but this is not an accepted field in the chat_template'
            )
        if isinstance(content, str):
            message["content"] = content + _MARK
            return content
        for part in reversed(content):
            if "text" in part:
                said = str(part["text"])
                part["text"] = said + _MARK
                return said
        raise RefusedError(
            "continue_final_message is set but we could not find any text to continue in the final message!"
        )


def _with_reasoning(message: Turn) -> Turn:
    """Give reasoning under each name that templates know it by, and leave out what is nothing."""
    message = {name: value for name, value in message.items() if value is not None}
    for name in _REASONING:
        if name in message:
            return {"thinking": message[name], **message, "reasoning_content": message[name]}
    return message


def _cut(text: str, last: str) -> str:
    """Cut a text where its last message ends."""
    bare = _MARK.strip()
    if last.strip() not in text or bare not in text:
        raise RefusedError(
            "continue_final_message is set but the final message does not appear in the chat after applying the chat "
            "template! This can happen if the chat template deletes portions of the final message. Please verify the "
            "chat template and final message in your chat to ensure they are compatible."
        )
    place = text.rindex(bare)
    whole = text[:place]
    return whole if text.startswith(_MARK, place) else whole.rstrip()
