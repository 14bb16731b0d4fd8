# -*- test-case-name: tests.structured.test_schemas -*-
"""One value as it is drawn: which of several schemas, which type, and when to stop going deeper.

A place in the value has one or more schemas that hold together. They are flattened: references are followed, one
branch of each choice is taken, and what remains are parts that say something of the place itself or of what is in it.
"""

import random
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Final, cast

from attrs import evolve

from vllmsim.structured.arrays import draw_array
from vllmsim.structured.documents import SchemaDocument
from vllmsim.structured.heights import Heights
from vllmsim.structured.numbers import draw_integer, draw_number
from vllmsim.structured.objects import draw_object
from vllmsim.structured.references import REFERENCES
from vllmsim.structured.texts import draw_text
from vllmsim.structured.values import TYPES, Budget, DeadEnd, JsonValue, Ranges, Schema, TooDeep, has_type, identity

_STEPS: Final = 4
_TRIES: Final = 6
"""How often a place is drawn anew before what holds it is."""
_DEEP: Final = 5
"""From this level on only what must be there is, and it is as flat as can be."""
_DEEPEST: Final = 40
_MANY: Final = 150
"""From so many values on, likewise."""
_PER_STEP: Final = 4
"""How many parts, names or values a step looks through."""
_CHARACTERS_PER_STEP: Final = 64
_LEVELS: Final = 8
_HALF: Final = 0.5
_VARIETY: Final = 10_000
"""By how much ranges grow where many values must differ."""
_LISTED: Final = 100
"""How many of an enumeration's values are tried."""
_MULTIPLE_STEPS: Final = 10
"""How long it takes to find a multiple between two bounds."""

_FLATTENED: Final = frozenset({*REFERENCES, "allOf", "anyOf", "oneOf", "if"})
_UNSURE: Final = frozenset(
    {
        *("oneOf", "not", "if", "dependentSchemas", "dependencies", "contains", "patternProperties", "format"),
        *("unevaluatedProperties", "unevaluatedItems", "pattern", "uniqueItems", "propertyNames", "enum", "multipleOf"),
    }
)
_HINTS: Final = {
    **dict.fromkeys(
        [
            *("properties", "required", "additionalProperties", "patternProperties", "minProperties"),
            *("maxProperties", "propertyNames", "dependentRequired", "dependencies"),
        ],
        "object",
    ),
    **dict.fromkeys(("items", "prefixItems", "contains", "minItems", "maxItems", "uniqueItems"), "array"),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), "number"),
    **dict.fromkeys(("minLength", "maxLength", "pattern", "format"), "string"),
}
"""What a schema that names no type is probably about."""


class Drawing:
    """One draw of a whole value; see :class:`vllmsim.structured.draws.Draw`.

    :ivar failure: the last dead end that was met.
    :ivar careful: validate parts on their own where building cannot foresee whether they will be right, and take no
        branch whose values have no end.
    """

    failure: DeadEnd | None = None
    careful = False
    varied = False

    def __init__(
        self, document: SchemaDocument, ranges: Ranges, heights: Heights, generator: random.Random, budget: Budget
    ) -> None:
        self.document = document
        self.ranges = ranges
        self.generator = generator
        self.budget = budget
        self._heights = heights
        self._values = 0

    def draw(self) -> JsonValue:
        """Draw a value for the whole document.

        :raises DeadEnd: when this draw leads nowhere.
        :raises Refusal: when none will.
        """
        return self.draw_all((self.document.root,), 0)

    def draw_all(self, schemas: Sequence[Schema], depth: int) -> JsonValue:
        """Draw a value that satisfies several schemas.

        :param depth: how deep it is nested.
        """
        if depth > _DEEPEST:
            raise TooDeep("its values are nested too deep")
        self._values += 1
        hurried = depth >= _DEEP or self._values > _MANY
        failure = DeadEnd("what was drawn did not satisfy it")
        for attempt in range(_TRIES):
            self.budget.spend(_STEPS)
            try:
                parts = self.flatten(schemas, hurried=hurried)
                self.budget.spend(len(parts) // _PER_STEP)
                value = self._draw(parts, schemas, depth, attempt, hurried=hurried)
            except TooDeep as error:
                self.failure = error
                raise
            except DeadEnd as error:
                failure = self.failure = error
                continue
            if not self.careful or not self._unsure(parts, schemas) or self._accepted(schemas, value):
                return value
        raise failure

    def _unsure(self, parts: Sequence[Mapping[str, JsonValue]], schemas: Sequence[Schema]) -> bool:
        return any(not _UNSURE.isdisjoint(part) for part in (*parts, *schemas) if isinstance(part, Mapping))

    def _accepted(self, schemas: Sequence[Schema], value: JsonValue) -> bool:
        self.budget.spend(len(schemas))
        return all(self.document.accepts(schema, value, self.budget) for schema in schemas)

    def flatten(self, schemas: Sequence[Schema], *, hurried: bool) -> list[dict[str, JsonValue]]:
        """Follow the references of schemas, and take a branch of each of their choices."""
        parts: list[dict[str, JsonValue]] = []
        pending = list(schemas)
        seen: set[int] = set()
        for schema in pending:
            if schema is False:
                raise DeadEnd("it allows no value")
            if not isinstance(schema, dict) or id(schema) in seen:
                continue
            seen.add(id(schema))
            known = self.document.known(schema)
            if _FLATTENED.isdisjoint(known):
                parts.append(known)
                continue
            self.budget.spend()
            references = self.document.references
            pending += [references.target(schema, keyword) for keyword in REFERENCES if keyword in known]
            if self.document.old and "$ref" in known:
                continue
            parts.append(known)
            pending += self._branches(known, hurried=hurried)
        return parts

    def _branches(self, schema: dict[str, JsonValue], *, hurried: bool) -> list[Schema]:
        branches = list(cast("list[Schema]", schema.get("allOf", ())))
        branches += [
            self._choose(cast("list[Schema]", schema[keyword]), hurried=hurried)
            for keyword in ("anyOf", "oneOf")
            if keyword in schema
        ]
        if "if" in schema:
            # If it must hold, then it is drawn from; that it must not is left to chance.
            chosen = ("if", "then") if self.generator.random() < _HALF else ("else",)
            branches += [cast("Schema", schema[keyword]) for keyword in chosen if keyword in schema]
        return branches

    def _choose(self, branches: list[Schema], *, hurried: bool) -> Schema:
        possible = [branch for branch in branches if branch is not False] or branches
        if len(possible) > 1 and (hurried or self.careful):
            for levels in range(_LEVELS) if hurried else (_LEVELS,):
                if flat := [branch for branch in possible if self._heights.fits(branch, levels, self.budget)]:
                    possible = flat
                    break
        return self.generator.choice(possible)

    def _draw(
        self,
        parts: list[dict[str, JsonValue]],
        schemas: Sequence[Schema],
        depth: int,
        attempt: int,
        *,
        hurried: bool,
    ) -> JsonValue:
        if any("enum" in part or "const" in part for part in parts):
            return self._listed(parts, schemas)
        kind = self._kind(parts, attempt, hurried=hurried)
        if kind == "object":
            return draw_object(self, parts, depth, hurried=hurried)
        if kind == "array":
            return draw_array(self, parts, depth, hurried=hurried)
        return self._scalar(kind, parts)

    def _scalar(self, kind: str, parts: list[dict[str, JsonValue]]) -> JsonValue:
        match kind:
            case "string":
                return draw_text(parts, self.document, self.generator, self.budget, varied=self.varied)
            case "integer":
                return draw_integer(parts, self._wide if self.varied else self.ranges, self.generator)
            case "number":
                self.budget.spend(_MULTIPLE_STEPS * sum("multipleOf" in part for part in parts))
                return draw_number(parts, self._wide if self.varied else self.ranges, self.generator)
            case "boolean":
                return self.generator.random() < _HALF
        return None

    @cached_property
    def _wide(self) -> Ranges:
        ranges = self.ranges
        return evolve(ranges, integer_most=ranges.integer_most + _VARIETY, number_most=ranges.number_most + _VARIETY)

    def _listed(self, parts: list[dict[str, JsonValue]], schemas: Sequence[Schema]) -> JsonValue:
        listing = [part for part in parts if "enum" in part or "const" in part]
        values = self.document.listed(listing[0])
        if len(parts) > 1:
            self.budget.spend(self.document.size // _PER_STEP)
            for part in listing[1:]:
                others = set(map(identity, self.document.listed(part)))
                values = [value for value in values if identity(value) in others]
            types = _types(parts)
            if types is not None:
                values = [value for value in values if any(has_type(value, name) for name in types)]
        if self.careful and len(values) > 1:
            values = self.generator.sample(values, min(len(values), _LISTED))
            values = [next((value for value in values if self._accepted(schemas, value)), values[0])]
        if not values:
            raise DeadEnd("none of the values it lists satisfies the rest of it")
        return self._copied(self.generator.choice(values))

    def _copied(self, value: JsonValue) -> JsonValue:
        """Copy a value of the schema, which its receiver may change."""
        if isinstance(value, dict):
            self.budget.spend(1 + len(value) // 2)
            return {name: self._copied(member) for name, member in value.items()}
        if isinstance(value, list):
            self.budget.spend(1 + len(value) // 2)
            return [self._copied(member) for member in value]
        if isinstance(value, str):
            self.budget.spend(len(value) // _CHARACTERS_PER_STEP)
        return value

    def _kind(self, parts: list[dict[str, JsonValue]], attempt: int, *, hurried: bool) -> str:
        types = _types(parts)
        if types is None:
            hinted = {_HINTS[keyword] for part in parts for keyword in part if keyword in _HINTS}
            types = sorted(hinted) or ["string"]
            if attempt:
                types = list(TYPES)
        if not types:
            raise DeadEnd("its types exclude each other")
        if hurried:
            types = [name for name in types if name not in {"object", "array"}] or types
        return types[0] if len(types) == 1 else self.generator.choice(types)


def _types(parts: Sequence[Mapping[str, JsonValue]]) -> list[str] | None:
    """Find the types that all parts allow, in the order of the first.

    :return: None when none of them names any.
    """
    allowed: list[str] | None = None
    for part in parts:
        named = part.get("type")
        if named is None:
            continue
        names = [named] if isinstance(named, str) else list(cast("list[str]", named))
        if allowed is None:
            allowed = names
            continue
        if "number" in names:
            names.append("integer")
        if "number" in allowed and "number" not in names:
            allowed = [*allowed, "integer"]
        allowed = [name for name in dict.fromkeys(allowed) if name in names]
    return allowed
