# -*- test-case-name: tests.structured.test_schemas -*-
"""How deep the values of a schema must be nested at least, so that drawing from one that refers to itself ends."""

from typing import Final, cast

from vllmsim.structured.documents import SchemaDocument
from vllmsim.structured.references import REFERENCES
from vllmsim.structured.values import Budget, JsonValue, Schema

_CONTAINERS: Final = frozenset({"object", "array"})


class Heights:
    """Tells which schemas have a value of few levels. What it has found out it remembers."""

    def __init__(self, document: SchemaDocument) -> None:
        self._document = document
        self._known: dict[tuple[int, int], bool] = {}

    def fits(self, schema: Schema, levels: int, budget: Budget) -> bool:
        """Tell whether a value of at most so many levels may satisfy a schema.

        A text or a number has no level, an object with such members has one.

        :param budget: what the work is taken from.
        """
        if isinstance(schema, bool):
            return schema
        key = id(schema), levels
        known = self._known.get(key)
        if known is None:
            budget.spend()
            # What refers to itself on the way has no value of its own.
            self._known[key] = False
            known = self._known[key] = self._fits(schema, levels, budget)
        return known

    def _fits(self, original: dict[str, JsonValue], levels: int, budget: Budget) -> bool:
        references, schema = self._document.references, self._document.known(original)
        for keyword in REFERENCES:
            if keyword in schema and not self.fits(references.target(original, keyword), levels, budget):
                return False
        if not all(self.fits(part, levels, budget) for part in _parts(schema, "allOf")):
            return False
        for keyword in ("anyOf", "oneOf"):
            branches = _parts(schema, keyword)
            if branches and not any(self.fits(branch, levels, budget) for branch in branches):
                return False
        return self._fits_itself(schema, levels, budget)

    def _fits_itself(self, schema: dict[str, JsonValue], levels: int, budget: Budget) -> bool:
        if "enum" in schema or "const" in schema:
            return True
        kinds = schema.get("type")
        if kinds is not None and not _CONTAINERS.issuperset([kinds] if isinstance(kinds, str) else kinds):  # type: ignore[arg-type]
            return True
        properties = cast("dict[str, Schema]", schema.get("properties", {}))
        inner = [properties[name] for name in cast("list[str]", schema.get("required", [])) if name in properties]
        if cast("int", schema.get("minItems", 0)) > 0:
            inner += [part for part in (schema.get("items"),) if isinstance(part, dict)]
            inner += _parts(schema, "prefixItems")
        if not inner:
            return kinds is None or levels > 0
        return levels > 0 and all(self.fits(part, levels - 1, budget) for part in inner)


def _parts(schema: dict[str, JsonValue], keyword: str) -> list[Schema]:
    return cast("list[Schema]", schema.get(keyword, []))
