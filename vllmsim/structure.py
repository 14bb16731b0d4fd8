# -*- test-case-name: tests.test_inference -*-
"""What an answer must be made of: calls of tools, outputs of a given structure, reasoning before it."""

from typing import Any, Final, TypeAlias

from attrs import frozen

THINK: Final = ("<think>", "</think>")
"""The tags around reasoning."""
CALL: Final = ("<tool_call>", "</tool_call>")
"""The tags around a call; the first is followed by the tool's name."""


@frozen(eq=False)
class Tool:
    """A function that the model may call.

    :param parameters: the JSON schema of its arguments.
    """

    name: str
    parameters: dict[str, Any] | bool


@frozen(eq=False)
class ToolUse:
    """How tools are to be used.

    :param tools: those that may be called, at least one.
    :param least: the fewest calls of an answer: 0 where the model is free to answer in text.
    :param most: the most; 1 where calls may not be parallel, or a tool is named.
    :param named: whether the request names the one tool that is to be called.
    """

    tools: tuple[Tool, ...]
    least: int
    most: int
    named: bool = False


@frozen
class Parsing:
    """How a server looks for calls in what the model says, where that is free to call or not.

    :param surface: the kind of request, as metrics call it: ``chat_completions``, ``responses`` or ``other``.
    :param interval: tokens per piece of a streamed answer after the first; None for an answer in one piece.
    """

    surface: str
    interval: int | None = None


@frozen(eq=False)
class JsonOutput:
    """JSON that is valid against a schema.

    :param schema: a JSON schema of any draft.
    """

    schema: dict[str, Any] | bool


@frozen
class ChoiceOutput:
    """One of some texts, of which there is at least one."""

    choices: tuple[str, ...]


@frozen
class RegexOutput:
    """A text that a regular expression matches as a whole."""

    pattern: str


StructuredOutput: TypeAlias = JsonOutput | ChoiceOutput | RegexOutput


@frozen(eq=False)
class Form:
    """What one request wants its answers to be made of.

    :param tools: the tools, if any may be called.
    :param output: the structure of the text, if it has one.
    :param thinks: whether reasoning may come first, on a server that reasons at all.
    :param thinking_budget: the most tokens of reasoning; None for no bound of its own.
    :param image: whether an image follows the text, which takes its time.
    :param parsing: how calls are looked for; None where they are not, or would be no surprise.
    """

    tools: ToolUse | None = None
    output: StructuredOutput | None = None
    thinks: bool = False
    thinking_budget: int | None = None
    image: bool = False
    parsing: Parsing | None = None


PLAIN = Form()
"""Text as the response source says it."""
