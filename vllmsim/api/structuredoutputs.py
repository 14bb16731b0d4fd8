# -*- test-case-name: tests.api.test_structuredoutputs -*-
"""Structured outputs in requests: OpenAI's ``response_format`` and vLLM's ``structured_outputs``."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, Literal

import orjson
from pydantic import Field

from vllmsim.api.body import Body, Listed
from vllmsim.errors import InvalidParameter, InvalidRequest
from vllmsim.structure import ChoiceOutput, JsonOutput, RegexOutput, StructuredOutput
from vllmsim.structured.door import check_schema

_KINDS: Final = ("json", "regex", "choice", "grammar", "json_object", "structural_tag")
ANY_OBJECT: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "score": {"type": "integer"}, "final": {"type": "boolean"}},
    "required": ["answer", "score", "final"],
}
"""What an object has of which the client says no more than that it is one."""


class JsonSchemaFormat(Body):
    """A schema that the answer must follow."""

    name: str = ""
    description: str | None = None
    json_schema: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


class ResponseFormat(Body):
    """What form the answer has."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None


class StructuralTagFormat(Body):
    """The structural tags of vLLM."""

    type: Literal["structural_tag"]
    format: Any


class LegacyStructuralTagFormat(Body):
    """Their older form."""

    type: Literal["structural_tag"]
    structures: Listed[dict[str, Any]]
    triggers: Listed[str]


AnyResponseFormat = ResponseFormat | StructuralTagFormat | LegacyStructuralTagFormat


class StructuredOutputs(Body):
    """vLLM's own constraints, of which a request has one."""

    json_value: str | dict[str, Any] | None = Field(default=None, alias="json")
    regex: str | None = None
    choice: Listed[str] | None = None
    grammar: str | None = None
    json_object: bool | None = None
    disable_any_whitespace: bool | None = None
    disable_additional_properties: bool | None = None
    whitespace_pattern: str | None = None
    structural_tag: str | None = None


def check_outputs(data: Mapping[str, Any]) -> None:
    """Check what vLLM checks on the raw body, before the types.

    :raises InvalidRequest: for a format without its schema, and for several constraints.
    """
    form = data.get("response_format")
    if isinstance(form, Mapping) and form.get("type") == "json_schema" and form.get("json_schema") is None:
        raise InvalidParameter(
            "When response_format type is 'json_schema', the 'json_schema' field must be provided.", "response_format"
        )
    constraints = data.get("structured_outputs")
    if isinstance(constraints, Mapping) and sum(constraints.get(kind) is not None for kind in _KINDS) > 1:
        raise InvalidRequest(
            "You can only use one kind of constraints for structured outputs ('json', 'regex' or 'choice')."
        )


def structured_output(form: AnyResponseFormat | None, constraints: StructuredOutputs | None) -> StructuredOutput | None:
    """Find the structure that a request wants; its format comes before its constraints.

    :raises InvalidRequest: when a schema is none, nothing may be chosen, or the structure is not simulated.
    """
    if isinstance(form, StructuralTagFormat | LegacyStructuralTagFormat):
        raise _not_simulated("Structural tags", "response_format")
    if form is not None and form.type != "text":
        schema = form.json_schema.json_schema if form.type == "json_schema" and form.json_schema else None
        return json_output(schema, "response_format")
    return None if constraints is None else _constrained(constraints)


def json_output(schema: dict[str, Any] | None, param: str) -> JsonOutput:
    """Make the structure of a schema, or of any object if there is none.

    :param param: the field that has it.
    :raises InvalidParameter: when it is no schema.
    """
    if schema is None:
        return JsonOutput(ANY_OBJECT)
    try:
        check_schema(schema)
    except InvalidRequest as error:
        raise InvalidParameter(error.message, param) from None
    return JsonOutput(schema)


def _constrained(constraints: StructuredOutputs) -> StructuredOutput | None:
    c = constraints
    if c.json_value is not None:
        return json_output(_schema(c.json_value), "structured_outputs")
    if c.json_object:
        return json_output(None, "structured_outputs")
    if c.regex is not None:
        return RegexOutput(c.regex)
    if c.choice is not None:
        if not c.choice:
            raise InvalidParameter("choice must have at least one text.", "structured_outputs")
        return ChoiceOutput(tuple(c.choice))
    if c.grammar is not None:
        raise _not_simulated("Grammars", "structured_outputs")
    if c.structural_tag is not None:
        raise _not_simulated("Structural tags", "structured_outputs")
    return None


def _schema(value: str | dict[str, Any]) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    with suppress(orjson.JSONDecodeError):
        read = orjson.loads(value)
        if isinstance(read, dict):
            return read
    raise InvalidParameter("The JSON schema is no JSON object.", "structured_outputs")


def _not_simulated(what: str, param: str) -> InvalidParameter:
    return InvalidParameter(f"{what} are not simulated; JSON schemas, regular expressions and choices are.", param)
