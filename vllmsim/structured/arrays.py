# -*- test-case-name: tests.structured.test_schemas -*-
"""Arrays for schemas: how many elements, and which schema holds for each."""

from collections.abc import Iterable, Iterator
from typing import Final, cast

from vllmsim.structured.draws import Draw, Parts
from vllmsim.structured.texts import greatest, smallest
from vllmsim.structured.values import DeadEnd, JsonValue, Refusal, Schema, identity

MOST: Final = 1_000
"""The most elements of an array, or properties of an object."""
_MORE: Final = 32
"""How many elements more than it must have an array gets, however many it may have."""
_TRIES: Final = 10
_TRIES_PER_ELEMENT: Final = 4
_PLAIN_TRIES: Final = 4
_STEPS: Final = 2
_PER_STEP: Final = 8
"""How many schemas of elements a step looks up."""


def draw_array(draw: Draw, parts: Parts, depth: int, *, hurried: bool) -> list[JsonValue]:
    """Draw an array.

    :param hurried: make it no longer than it must be.
    :raises DeadEnd: when this draw leads nowhere.
    :raises Refusal: when it would be longer than any that we make.
    """
    least, low, high = _lengths(draw, parts)
    count = least if hurried else draw.generator.randint(low, high)
    placed = _placed(draw, parts, count)
    draw.budget.spend(_STEPS)
    unique = any(part.get("uniqueItems") is True for part in parts)
    before = draw.varied
    try:
        places = _places(draw, parts, placed, count)
        return _elements(draw, places, depth, count if placed else least, unique=unique)
    finally:
        draw.varied = before


def _places(draw: Draw, parts: Parts, placed: dict[int, list[Schema]], count: int) -> Iterator[list[Schema]]:
    """Find the schemas of each element, not before it is drawn: the first may be a dead end."""
    for index in range(count):
        draw.budget.spend(len(parts) // _PER_STEP)
        yield [*_element_schemas(parts, index), *placed.get(index, ())]


def _elements(draw: Draw, places: Iterable[list[Schema]], depth: int, least: int, *, unique: bool) -> list[JsonValue]:
    """Draw the elements, fewer where more than the least are not to be had."""
    known: set[object] = set()
    elements: list[JsonValue] = []
    for schemas in places:
        try:
            elements.append(_new_element(draw, schemas, depth, known) if unique else draw.draw_all(schemas, depth + 1))
        except DeadEnd:
            if len(elements) < least:
                raise
            break
    return elements


def _lengths(draw: Draw, parts: Parts) -> tuple[int, int, int]:
    """Find how long the array must be, and between which lengths one is drawn."""
    prefix = max(len(_prefix(part)) for part in parts) if parts else 0
    ranges = draw.ranges
    least, most = greatest(parts, "minItems", 0), smallest(parts, "maxItems", MOST)
    if least > MOST:
        raise Refusal(f"it asks for an array of more than {MOST} elements")
    for part in parts:
        if _rest(part) is False:
            most = min(most, len(_prefix(part)))
    contained = [number for _, number in _contained(parts)]
    least = max([least, *contained])
    if least > most:
        raise DeadEnd("no array is as long as it asks for")
    low, high = (prefix, prefix) if prefix else (ranges.array_least, ranges.array_most)
    if any("minItems" in part for part in parts):
        low, high = least, max(high, least + high - low)
    if any("maxItems" in part for part in parts):
        high = most
    # One element may be all that it must contain, but seldom is.
    low = min(max(low, least, sum(contained)), most)
    return least, low, max(low, min(high, most, low + _MORE))


def _placed(draw: Draw, parts: Parts, count: int) -> dict[int, list[Schema]]:
    """Choose which elements satisfy what the array must contain."""
    contained = [(schema, number) for schema, number in _contained(parts) if number]
    draw.budget.spend(len(contained) * count)
    placed: dict[int, list[Schema]] = {}
    free = list(range(count))
    for schema, number in contained:
        if len(free) < number:
            free = list(range(count))
        draw.generator.shuffle(free)
        chosen, free = free[:number], free[number:]
        for index in chosen:
            placed.setdefault(index, []).append(schema)
    return placed


def _new_element(draw: Draw, schemas: list[Schema], depth: int, known: set[object]) -> JsonValue:
    """Draw an element that the array does not have yet.

    Where they run out they are varied, and stay so for the elements after this one.
    """
    for attempt in range(_TRIES + _TRIES_PER_ELEMENT * len(known)):
        draw.varied = draw.varied or attempt >= _PLAIN_TRIES
        element = draw.draw_all(schemas, depth + 1)
        if (key := identity(element)) not in known:
            known.add(key)
            return element
    raise DeadEnd("it asks for more different elements than were found")


def _contained(parts: Parts) -> Iterator[tuple[Schema, int]]:
    """Find what the array must contain, and how often."""
    for part in parts:
        if "contains" in part:
            number = part.get("minContains", 1)
            yield cast("Schema", part["contains"]), int(number) if isinstance(number, int | float) else 1


def _element_schemas(parts: Parts, index: int) -> Iterator[Schema]:
    for part in parts:
        prefix = _prefix(part)
        rest = prefix[index] if index < len(prefix) else _rest(part)
        if rest is not True:
            yield rest


def _prefix(part: dict[str, JsonValue]) -> list[Schema]:
    """Find the schemas of the first elements; older drafts say them with `items`."""
    items = part.get("items")
    return cast("list[Schema]", items if isinstance(items, list) else part.get("prefixItems", []))


def _rest(part: dict[str, JsonValue]) -> Schema:
    items = part.get("items", part.get("unevaluatedItems", True))
    return cast("Schema", part.get("additionalItems", True) if isinstance(items, list) else items)
