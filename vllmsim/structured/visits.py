# -*- test-case-name: tests.structured.test_schemas -*-
"""How much work a validator has with a value, counted before it does it.

References let a schema of some lines ask the same question of the same value a billion times. The validator answers
each; we count them first, and stop counting early.
"""

from collections.abc import Iterator
from typing import Final, Protocol, cast

from vllmsim.structured.references import REFERENCES, References
from vllmsim.structured.values import Budget, JsonValue, Refusal, Schema

_SMALL: Final = 400
_LISTS: Final = ("allOf", "anyOf", "oneOf")
_CONDITION: Final = ("if", "then", "else")
_RULES: Final = ("dependentSchemas", "dependencies")
_SAME: Final = frozenset({*REFERENCES, *_LISTS, *_CONDITION, *_RULES, "not"})
_UNEVALUATED: Final = frozenset({"unevaluatedProperties", "unevaluatedItems"})
_REST: Final = ("additionalProperties", "unevaluatedProperties")
_NAMED: Final = frozenset({"properties", "patternProperties", "propertyNames", *_REST})
_ELEMENTS: Final = ("items", "additionalItems", "contains", "unevaluatedItems")


class Document(Protocol):
    """The document that the schemas are of."""

    root: Schema
    old: bool

    @property
    def references(self) -> References:
        """What its references refer to."""

    def known(self, schema: dict[str, JsonValue]) -> dict[str, JsonValue]:
        """Find what a part says in the document's draft."""


def is_small(document: Document) -> bool:
    """Tell whether a document is small even when what is referred to is written out at each reference.

    A validator cannot have much work with such a document, and its visits need not be counted.
    """
    pending: list[JsonValue] = [document.root]
    for count, node in enumerate(pending):
        if count > _SMALL:
            return False
        if isinstance(node, dict):
            try:
                pending += _targets(node, document)
            except Refusal:
                # Nothing may ever look there.
                return False
            pending += [member for member in node.values() if isinstance(member, dict | list)]
        elif isinstance(node, list):
            pending += [member for member in node if isinstance(member, dict | list)]
    return True


def _targets(original: dict[str, JsonValue], document: Document) -> list[Schema]:
    schema = document.known(original)
    return [
        document.references.target(original, keyword) for keyword in REFERENCES if isinstance(schema.get(keyword), str)
    ]


def spend_visits(schema: Schema, value: JsonValue, document: Document, budget: Budget) -> None:
    """Count how often a part of the schema meets a part of the value.

    :param budget: what it is taken from.
    :raises Refusal: when it is too often.
    """
    pending: list[tuple[Schema, JsonValue]] = [(schema, value)]
    while pending:
        schema, value = pending.pop()
        budget.spend()
        if isinstance(schema, bool):
            continue
        if not _SAME.isdisjoint(schema):
            budget.spend()
            # What is unevaluated is found out by evaluating the rest twice more.
            times = 1 if _UNEVALUATED.isdisjoint(schema) else 3
            pending += [(part, value) for part in _same(schema, document)] * times
        schema = document.known(schema)
        if isinstance(value, dict):
            pending += _members(schema, value)
        elif isinstance(value, list):
            pending += _elements(schema, value)


def _same(original: dict[str, JsonValue], document: Document) -> Iterator[Schema]:
    """Find the parts that look at the same value."""
    schema = document.known(original)
    yield from _targets(original, document)
    if document.old and "$ref" in schema:
        return
    for keyword in _LISTS:
        yield from cast("list[Schema]", schema.get(keyword, ()))
    for keyword in _CONDITION if "if" in schema else ():
        if keyword in schema:
            yield cast("Schema", schema[keyword])
    if "not" in schema:
        yield cast("Schema", schema["not"])
    for keyword in _RULES:
        for part in cast("dict[str, JsonValue]", schema.get(keyword, {})).values():
            if isinstance(part, dict):
                yield part


def _members(schema: dict[str, JsonValue], value: dict[str, JsonValue]) -> Iterator[tuple[Schema, JsonValue]]:
    if _NAMED.isdisjoint(schema):
        return
    properties = cast("dict[str, Schema]", schema.get("properties", {}))
    patterns = cast("dict[str, Schema]", schema.get("patternProperties", {}))
    rest = [cast("Schema", schema[keyword]) for keyword in _REST if keyword in schema]
    names = schema.get("propertyNames")
    for name, member in value.items():
        if name in properties:
            yield properties[name], member
        for part in (*patterns.values(), *rest):
            yield part, member
        if isinstance(names, dict):
            yield names, name


def _elements(schema: dict[str, JsonValue], value: list[JsonValue]) -> Iterator[tuple[Schema, JsonValue]]:
    for keyword in ("prefixItems", "items"):
        if isinstance(parts := schema.get(keyword), list):
            yield from zip(cast("list[Schema]", parts), value, strict=False)
    for keyword in _ELEMENTS:
        part = schema.get(keyword)
        if isinstance(part, dict):
            for element in value:
                yield part, element
