"""Requests for answers of a structure that is hard to give."""

from collections.abc import Callable
from random import Random
from typing import Any, Final

from tests.fuzz.bodies import TALK


def _tower(levels: int, wrap: Callable[[int], Any]) -> dict[str, Any]:
    """Make a schema of definitions of which each has the next several times."""
    definitions = {f"d{level}": wrap(level + 1) for level in range(levels)}
    return {"$defs": {**definitions, f"d{levels}": {"type": "string"}}, "$ref": "#/$defs/d0"}


_SELF: Final = {"$ref": "#"}


def _schemas(chance: Random) -> list[Any]:
    count = chance.choice((10, 1000, 16_000))
    ref: Callable[[int], dict[str, str]] = lambda level: {"$ref": f"#/$defs/d{level}"}  # noqa: E731 - shorter so
    return [
        _SELF,
        {"type": "object", "properties": {"a": _SELF}, "required": ["a"]},
        {"type": "array", "items": _SELF, "minItems": chance.choice((0, 1, 3))},
        {"anyOf": [_SELF, _SELF]},
        {"not": _SELF},
        {"if": _SELF, "then": _SELF, "else": _SELF},
        _tower(40, lambda level: {"allOf": [ref(level)] * 2}),
        _tower(40, lambda level: {"anyOf": [ref(level)] * 9}),
        _tower(
            chance.choice((8, 40)),
            lambda level: {"type": "object", "properties": {k: ref(level) for k in "abc"}, "required": list("abc")},
        ),
        {"allOf": [{"oneOf": [{"enum": [i, i + 1]} for i in range(20)]}] * 20},
        {"enum": list(range(count))},
        {"allOf": [{"enum": list(range(count))}, {"not": {"enum": list(range(count - 1))}}]},
        {
            "type": "object",
            "properties": {f"p{i}": {} for i in range(count)},
            "required": [f"p{i}" for i in range(count)],
        },
        {"type": "string", "minLength": 10 ** chance.choice((3, 6, 15))},
        {
            "type": "array",
            "items": {"type": "boolean"},
            "minItems": 10 ** chance.choice((1, 6, 15)),
            "uniqueItems": True,
        },
        {"type": "object", "minProperties": 10 ** chance.choice((1, 6, 15)), "propertyNames": {"pattern": "(a+)+$"}},
        {"type": "number", "multipleOf": 1e-300, "minimum": 10 ** chance.choice((1, 300))},
        {"type": "array", "contains": {"enum": [1]}, "minContains": count},
        {"type": "array", "prefixItems": [{"type": "integer"}] * count, "items": False},
        {"$ref": chance.choice(("http://127.0.0.1:1/x", "file:///etc/passwd", "#/%00%ff", "#/$defs/none", "//["))},
        {"$id": "http://[", "$dynamicRef": "#x", "unevaluatedProperties": _SELF},
    ]


_PATTERNS: Final = (
    *("(a+)+$", "(a|a)*b", "((a*)*)*", "(.*)*x", "a{1000000}", "a{999}{999}{999}", "(a{1,100}){1,100}", "(?=a)" * 500),
    *("(a?){5000}a{5000}", "[a-z]{1,99999999999}", "(" * 39 + "a" + ")*" * 39, "(" * 5000, "[", "\\", "\\p{L}" * 999),
    *(
        "a|" * 4000,
        "((a{50}){50}){50}",
        "\\d+" * 2000,
        "(?#",
        "\0",
        "^$" * 999,
        ".*" * 4000,
        "(?!.*)",
        "(?<=a{1,5})",
        "x" * 9000,
    ),
    *(
        "(a|b|c)*" * 900,
        "[^\\x00-\\U0010ffff]",
        "(?P<n>a)(?P=n)" * 50,
        "(?i)\u0130",
        "[\\w-\\d]",
        "(a)\\1" * 200,
        "a{2,1}",
        "*",
    ),
)


def structured(chance: Random) -> tuple[str, Any]:
    """Ask for an answer of a structure that is hard to give.

    :return: a path and a body.
    """
    schema, pattern = chance.choice(_schemas(chance)), chance.choice(_PATTERNS)
    asked: Any = chance.choice(
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "a", "schema": {"type": "string", "pattern": pattern}},
                }
            },
            {"structured_outputs": {"json": schema}},
            {"structured_outputs": {"regex": pattern}},
            {
                "structured_outputs": {
                    "choice": [f"{pattern[:200]}{number}" for number in range(chance.choice((2, 9000)))]
                }
            },
            {
                "structured_outputs": {
                    "grammar": chance.choice(("root ::= root root", "start: start", "root ::= " + "( " * 9000, ""))
                }
            },
            {
                "tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}],
                "tool_choice": "required",
            },
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {"name": "f", "parameters": {"patternProperties": {pattern: schema}}},
                    }
                ]
            },
            {"stop": [f"{number}" for number in range(chance.choice((9, 16_000, 100_000)))], "ignore_eos": True},
            {"logit_bias": {str(number): 1 for number in range(chance.choice((9, 16_000, 100_000)))}},
            {"logprobs": True, "top_logprobs": 20, "n": 8, "ignore_eos": True},
        )
    )
    return "/v1/chat/completions", {"messages": TALK[-1:], "max_tokens": chance.choice((3, 200)), **asked}
