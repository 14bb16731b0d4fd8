# -*- test-case-name: tests.api.responses.test_form -*-
"""What Responses requests want their answers to be made of: tools, formats of text, reasoning.

Tools have the flat form, ``{"type": "function", "name", "parameters"}``; that of chat requests is understood too. Tools
that OpenAI's servers run themselves are accepted and never called, as by a vLLM without a tool server.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import orjson
from attrs import evolve
from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from vllmsim.api.body import Body, Listed
from vllmsim.api.chat import thinks
from vllmsim.api.dialect import Settings
from vllmsim.api.structuredoutputs import json_output, structured_output
from vllmsim.api.toolcalls import (
    NO_TOOLS,
    ChatTool,
    FunctionDefinition,
    ToolChoice,
    parse_calls,
    read_choice,
    use_tools,
)
from vllmsim.errors import InvalidParameter, InvalidRequest
from vllmsim.structure import Form, Parsing, StructuredOutput, Tool, ToolUse

if TYPE_CHECKING:
    from vllmsim.api.responses.dialect import ResponsesBody

_HOSTED: Final = frozenset(
    {
        "apply_patch", "code_interpreter", "computer", "computer_use_preview", "custom", "file_search",
        "image_generation", "local_shell", "mcp", "namespace", "programmatic_tool_calling", "shell", "tool_search",
        "web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11",
    }
)  # fmt: skip
"""Types of tools that are accepted and never called."""


class FunctionTool(Body):
    """A function that the model may call. Answers repeat it with every member, in this order."""

    model_config = ConfigDict(populate_by_name=True)

    name: str
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    type: Literal["function"]
    allowed_callers: Listed[str] | None = None
    asynchronous: bool | None = Field(default=None, alias="async")
    defer_loading: bool | None = None
    description: str | None = None
    output_schema: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _flatten(cls, value: Any) -> Any:
        """Accept the form of chat requests."""
        inner = value.get("function")
        return {**inner, "type": "function"} if isinstance(inner, Mapping) and "name" not in value else value

    def tool(self) -> Tool:
        """Make the tool that is meant."""
        return Tool(self.name, {} if self.parameters is None else self.parameters)

    def chat_tool(self) -> ChatTool:
        """Make the same tool of a chat request."""
        function = FunctionDefinition(
            name=self.name, description=self.description, parameters=self.parameters, strict=self.strict
        )
        return ChatTool(function=function)


class HostedTool(Body):
    """Any other tool. Answers repeat it as it came."""

    model_config = ConfigDict(extra="allow")

    type: str


def _kind(value: Any) -> str | None:
    if not isinstance(value, Mapping):
        return None
    return "function" if value.get("type") == "function" else "hosted"


AnyTool = Annotated[
    Annotated[FunctionTool, Tag("function")] | Annotated[HostedTool, Tag("hosted")], Discriminator(_kind)
]


class TextFormat(Body):
    """What form the text has."""

    model_config = ConfigDict(protected_namespaces=())

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    schema_value: dict[str, Any] | None = Field(default=None, alias="schema")
    description: str | None = None
    strict: bool | None = None

    def shown(self) -> dict[str, Any]:
        """Repeat it as answers do."""
        if self.type != "json_schema":
            return {"type": self.type}
        return {
            "name": self.name,
            "schema": self.schema_value,
            "type": self.type,
            "description": self.description,
            "strict": self.strict,
        }


class TextConfig(Body):
    """How the text is to be."""

    format: TextFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None

    def shown(self) -> dict[str, Any]:
        """Repeat it as answers do."""
        return {"format": self.format and self.format.shown(), "verbosity": self.verbosity}


class Reasoning(Body):
    """How much the model is to think. Answers repeat it with every member, in this order."""

    context: str | None = None
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    generate_summary: str | None = None
    mode: str | None = None
    summary: str | None = None


def response_form(settings: Settings, body: "ResponsesBody", *, answered: bool) -> Form:
    """Find what the answer to a Responses request must be made of.

    :param answered: whether the conversation has results of calls.
    :raises InvalidRequest: when the server cannot, or the request contradicts itself.
    """
    tools, parsing = _tool_use(settings, body, answered=answered)
    return Form(
        tools=tools,
        parsing=parsing,
        output=_output(body),
        thinks=settings.reasons
        and thinks(body.reasoning.effort if body.reasoning else None, body.chat_template_kwargs),
    )


def _tool_use(settings: Settings, body: "ResponsesBody", *, answered: bool) -> tuple[ToolUse | None, Parsing | None]:
    """Decide about tools. As in llm-d-inference-sim a model that is free to choose calls one, unless it has results.

    :return: how they are to be used, and how calls are looked for.
    """
    for tool in body.tools or ():
        if isinstance(tool, HostedTool) and tool.type not in _HOSTED:
            raise InvalidRequest(f'unsupported tool type "{tool.type}"', "tools")
    functions = [tool.tool() for tool in body.tools or () if isinstance(tool, FunctionTool)]
    choice = read_choice(body.tool_choice)
    if not functions:
        if choice.mode == "required" or choice.allowed is not None:
            raise InvalidParameter("When using `tool_choice`, `tools` must be set.", "tool_choice")
        return None, None
    if settings.encoder_only or (body.max_tool_calls == 0 and choice.mode == "auto"):
        choice = NO_TOOLS
    parallel = body.parallel_tool_calls is not False
    use = use_tools(functions, choice, settings.tooling, parallel=parallel, answered=answered)
    parsing = parse_calls(choice, settings.tooling, "responses", settings.stream_interval if body.stream else None)
    if use is None:
        return None, parsing
    most = use.most if body.max_tool_calls is None else max(1, min(use.most, body.max_tool_calls))
    return evolve(use, least=1 if choice.allowed is None else use.least, most=most), parsing


def _output(body: "ResponsesBody") -> StructuredOutput | None:
    form = body.text.format if body.text else None
    if form is None:
        return structured_output(None, body.structured_outputs)
    if body.structured_outputs is not None:
        raise InvalidRequest("Cannot specify both structured_outputs and text.format")
    if form.type == "text":
        return None
    if form.type == "json_schema" and form.schema_value is None:
        raise InvalidParameter("When text.format type is 'json_schema', the 'schema' field must be provided.", "text")
    return json_output(form.schema_value if form.type == "json_schema" else None, "text.format")


def shown(body: "ResponsesBody") -> dict[str, orjson.Fragment]:
    """Repeat what a request says as answers do, written once, since a stream repeats it three times.

    :return: the members that may be large, or deep.
    :raises InvalidRequest: when one cannot be written, as it is too deep or has an integer of more than 64 bits.
    """
    values = {
        "tool_choice": _shown_choice(body),
        "tools": [tool.model_dump(by_alias=True) for tool in body.tools or ()],
        "prompt_cache_options": body.prompt_cache_options,
        "text": body.text and body.text.shown(),
    }
    written = {}
    for name, value in values.items():
        try:
            written[name] = orjson.Fragment(orjson.dumps(value))
        except orjson.JSONEncodeError as error:
            raise InvalidRequest(f"{name} cannot be repeated in an answer: {error}", name) from None
    return written


def _shown_choice(body: "ResponsesBody") -> str | dict[str, Any]:
    """Repeat what a request says about calling tools: nothing can be called if there are none."""
    if not body.tools:
        return "none"
    choice: ToolChoice = read_choice(body.tool_choice)
    if choice.name is not None:
        return {"name": choice.name, "type": "function"}
    if choice.allowed is not None and isinstance(body.tool_choice, Mapping):
        inner = body.tool_choice.get("allowed_tools")
        tools = (inner if isinstance(inner, Mapping) else body.tool_choice)["tools"]
        return {"mode": choice.mode, "tools": tools, "type": "allowed_tools"}
    return choice.mode
