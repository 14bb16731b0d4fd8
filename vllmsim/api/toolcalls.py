# -*- test-case-name: tests.api.test_toolcalls -*-
"""Tools in requests: which may be called, which must be, and how a server that cannot call them says so.

The dialects name the same things differently; each makes :class:`vllmsim.structure.Tool` and :class:`ToolChoice` of
its own and has :func:`use_tools` decide.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, Literal

from attrs import evolve, frozen

from vllmsim.api.body import Body
from vllmsim.errors import InvalidParameter, InvalidRequest
from vllmsim.inference import Part
from vllmsim.structure import Parsing, Tool, ToolUse
from vllmsim.structured.door import check_schema


class FunctionDefinition(Body):
    """A function as chat requests describe it."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ChatTool(Body):
    """A tool of a chat request."""

    type: str = "function"
    function: FunctionDefinition

    def tool(self) -> Tool:
        """Make the tool that is meant."""
        return Tool(self.function.name, {} if self.function.parameters is None else self.function.parameters)


@frozen
class Tooling:
    """What a server does about tools.

    :param parser: the name of the parser that finds calls in the model's text; empty for none.
    :param automatic: whether the model may decide to call.
    :param validates: whether definitions are checked.
    """

    parser: str = "hermes"
    automatic: bool = True
    validates: bool = True

    def call_id(self, part: Part, index: int, new_id: Callable[[], str]) -> str:
        """Make the id of a call, in the form of the parser.

        :param index: its place among the calls of the conversation.
        """
        return f"functions.{part.name}:{index}" if self.parser == "kimi_k2" else f"chatcmpl-tool-{new_id()}"


@frozen
class ToolChoice:
    """What a request says about calling tools.

    :param name: the tool that must be called.
    :param allowed: the tools that may be called; None for all.
    """

    mode: Literal["none", "auto", "required"] = "auto"
    name: str | None = None
    allowed: tuple[str, ...] | None = None


NO_TOOLS = ToolChoice("none")
_MOST_WEIGHT: Final = 50_000
"""Microseconds that the patterns of all tools may take to read and compile, as they estimate it."""


def check_tools(data: Mapping[str, Any]) -> None:
    """Check ``tools`` and ``tool_choice`` as vLLM does on the raw body.

    :raises InvalidParameter: when they do not fit together.
    """
    tools, choice = data.get("tools"), data.get("tool_choice")
    if isinstance(tools, list) and not tools:
        raise InvalidParameter(
            "`tools` must not be an empty array. Either provide at least one tool or omit the field entirely.", "tools"
        )
    if choice is None or choice == "none":
        return
    if not tools:
        raise InvalidParameter("When using `tool_choice`, `tools` must be set.", "tool_choice")
    if isinstance(choice, Mapping):
        _check_chosen(read_choice(choice), tools)
    elif choice not in ("auto", "required"):
        raise InvalidParameter(
            f'Invalid value for `tool_choice`: {choice}! Only named tools, "none", "auto" or "required" are supported.',
            "tool_choice",
        )


def _check_chosen(choice: ToolChoice, tools: Any) -> None:
    given = tools if isinstance(tools, list) else []
    _check_known(choice, {_name(tool, "function") for tool in given if isinstance(tool, Mapping)})


def _check_known(choice: ToolChoice, names: Collection[str | None]) -> None:
    wanted = {*(choice.allowed or ()), *([] if choice.name is None else [choice.name])}
    if not wanted.issubset(names):
        raise InvalidParameter(
            "The tool specified in `tool_choice` does not match any of the specified `tools`", "tool_choice"
        )


def read_choice(choice: str | Mapping[str, Any] | None) -> ToolChoice:
    """Read ``tool_choice`` in the forms of chat and Responses requests; None is as if it were not there.

    :raises InvalidParameter: when it has none of the forms.
    """
    if choice is None:
        return ToolChoice()
    if isinstance(choice, str):
        return ToolChoice(choice) if choice in ("none", "required") else ToolChoice()  # type: ignore[arg-type]
    kind = choice.get("type")
    if kind == "allowed_tools":
        return _read_allowed(choice)
    name = _name(choice, str(kind))
    if kind in ("function", "custom") and name:
        return ToolChoice("required", name)
    raise InvalidParameter(
        f"Invalid value for `tool_choice`: {dict(choice)}! "
        'Only named tools, "none", "auto" or "required" are supported.',
        "tool_choice",
    )


def _read_allowed(choice: Mapping[str, Any]) -> ToolChoice:
    inner = choice.get("allowed_tools")
    body = inner if isinstance(inner, Mapping) else choice
    tools, mode = body.get("tools"), body.get("mode", "auto")
    names = [_name(tool, "function") for tool in tools if isinstance(tool, Mapping)] if isinstance(tools, list) else []
    if not names or None in names or mode not in ("auto", "required"):
        raise InvalidParameter(
            "`tool_choice` of type allowed_tools needs a mode, auto or required, and a list of tools with names.",
            "tool_choice",
        )
    return ToolChoice(mode, allowed=tuple(str(name) for name in names))


def _name(value: Mapping[str, Any], kind: str) -> str | None:
    inner = value.get(kind)
    name = inner.get("name") if isinstance(inner, Mapping) else value.get("name")
    return name if isinstance(name, str) else None


def use_tools(
    tools: Sequence[Tool], choice: ToolChoice, tooling: Tooling, *, parallel: bool = True, answered: bool = False
) -> ToolUse | None:
    """Decide which tools an answer may or must call.

    :param parallel: whether it may call several.
    :param answered: whether the request brings the result of a call: a model that is free to choose then answers in
        text, so that a loop of calls and results comes to its end.
    :return: None for an answer in text.
    :raises InvalidRequest: when the choice names a tool that is not there, a definition is no schema, or the server
        cannot call tools.
    """
    if tooling.validates:
        _check_definitions(tools)
    if not tools or choice.mode == "none":
        return None
    if choice.name is None:
        _check_parser(choice, tooling)
    _check_known(choice, {tool.name for tool in tools})
    if choice.name is not None:
        named = next(tool for tool in tools if tool.name == choice.name)
        return ToolUse((named,), least=1, most=1, named=True)
    if choice.allowed is not None:
        allowed = frozenset(choice.allowed)
        tools = [tool for tool in tools if tool.name in allowed]
    use = ToolUse(tuple(tools), least=1, most=len(tools) if parallel else 1)
    if choice.mode == "required":
        return use
    return None if answered else evolve(use, least=0)


def parse_calls(choice: ToolChoice, tooling: Tooling, surface: str, interval: int | None) -> Parsing | None:
    """Tell how the server looks for calls in an answer to a request with tools.

    :param surface: the kind of request, as metrics call it.
    :param interval: tokens per piece of a streamed answer; None for an answer in one piece.
    :return: None where it does not: none may be called, or some must be, whose form is known.
    """
    free = choice.mode == "auto" and choice.name is None
    return Parsing(surface, interval) if free and tooling.parser else None


def _check_parser(choice: ToolChoice, tooling: Tooling) -> None:
    if choice.mode == "auto" and not (tooling.automatic and tooling.parser):
        raise InvalidRequest('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set')
    if not tooling.parser:
        raise InvalidRequest('tool_choice="required" requires --tool-call-parser to be set')


def _check_definitions(tools: Sequence[Tool]) -> None:
    weight = 0
    for tool in tools:
        try:
            weight += check_schema(tool.parameters)
        except InvalidRequest as error:
            raise InvalidRequest(f"Tool validation failed: {tool.name}: {error.message}") from None
        if weight > _MOST_WEIGHT:
            raise InvalidRequest("Tool validation failed: the patterns of all tools together are too large")
