# -*- test-case-name: tests.structured.test_schemas -*-
"""Objects for schemas: which properties there are, and which schemas hold for each."""

from collections.abc import Iterable, Iterator
from typing import Final, cast

from vllmsim.structured.arrays import MOST
from vllmsim.structured.draws import Draw, Parts
from vllmsim.structured.formats import WORDS
from vllmsim.structured.patterns import LONGEST
from vllmsim.structured.texts import greatest, smallest
from vllmsim.structured.values import DeadEnd, JsonValue, Refusal, Schema

_TRIES: Final = 12
_PLAIN_TRIES: Final = 3
_STEPS: Final = 2
_PER_STEP: Final = 8
"""How many names or parts a step looks through."""
_CHARACTERS_PER_STEP: Final = 64
_STRING: Final[Schema] = {"type": "string"}


def draw_object(
    draw: Draw, parts: Parts, depth: int, *, hurried: bool, forced: Iterable[str] = ()
) -> dict[str, JsonValue]:
    """Draw an object.

    :param hurried: give it no more properties than it must have.
    :param forced: names that it must have besides those that the schemas require.
    :raises DeadEnd: when this draw leads nowhere.
    :raises Refusal: when it would have more properties than any that we make.
    """
    required = _closed([*forced, *_required(parts)], parts)
    least, most = greatest(parts, "minProperties", 0), smallest(parts, "maxProperties", MOST)
    if max(least, len(required)) > MOST:
        raise Refusal(f"it asks for an object of more than {MOST} properties")
    if max(least, len(required)) > most:
        raise DeadEnd("it requires more properties than it allows")
    draw.budget.spend(_STEPS + len(required) // _PER_STEP)
    declared = [name for part in parts for name in cast("dict[str, Schema]", part.get("properties", ()))]
    draw.budget.spend(len(declared) // _PER_STEP)
    if not declared and not hurried and any(_is_dictionary(part) for part in parts):
        low = min(max(least, draw.ranges.array_least), most)
        least = draw.generator.randint(low, max(low, min(draw.ranges.array_most, most)))
    chosen = _chosen(draw, [*dict.fromkeys(declared)], required, parts, depth, least, most, hurried=hurried)
    draw.budget.spend(len(parts) * len(chosen) // _PER_STEP)
    if triggered := _triggered(parts, chosen):
        further = draw.flatten(triggered, hurried=hurried)
        known = set(map(id, parts))
        if fresh := [part for part in further if id(part) not in known]:
            return draw_object(draw, [*parts, *fresh], depth, hurried=hurried, forced=chosen)
    return _drawn(draw, parts, depth, chosen, required, least)


def _drawn(
    draw: Draw, parts: Parts, depth: int, chosen: Iterable[str], required: dict[str, None], least: int
) -> dict[str, JsonValue]:
    drawn: dict[str, JsonValue] = {}
    for name in chosen:
        schemas = member_schemas(draw, parts, name)
        try:
            drawn[name] = draw.draw_all(schemas, depth + 1)
        except DeadEnd:
            if name in required:
                raise
    while len(drawn) < least:
        name, schemas = _new_member(draw, parts, depth, drawn)
        drawn[name] = draw.draw_all(schemas, depth + 1)
    return drawn


def _chosen(
    draw: Draw,
    declared: list[str],
    required: dict[str, None],
    parts: Parts,
    depth: int,
    least: int,
    most: int,
    *,
    hurried: bool,
) -> list[str]:
    """Choose the properties, in the order in which they are declared."""
    ranges = draw.ranges
    probability = ranges.optional_field_probability if depth else ranges.optional_probability
    optional = [name for name in declared if name not in required]
    wanted = [] if hurried else [name for name in optional if draw.generator.random() < probability]
    chosen = required
    if len(required) + len(wanted) > most:
        draw.generator.shuffle(wanted)
    elif len(required) + len(wanted) < least:
        others = [name for name in optional if name not in wanted]
        wanted += draw.generator.sample(others, min(len(others), least - len(required) - len(wanted)))
    if wanted:
        dependent = any("dependentRequired" in part or "dependencies" in part for part in parts)
        for name in wanted:
            more = _closed([*chosen, name], parts) if dependent else {**chosen, name: None}
            if len(more) <= most:
                chosen = more
    order = {name: place for place, name in enumerate(declared)}
    return sorted(chosen, key=lambda name: order.get(name, len(order)))


def _required(parts: Parts) -> Iterator[str]:
    for part in parts:
        if isinstance(names := part.get("required"), list):
            yield from cast("list[str]", names)


def _closed(names: Iterable[str], parts: Parts) -> dict[str, None]:
    """Add to some properties those that they require."""
    closed = dict.fromkeys(names)
    rules = [
        cast("dict[str, JsonValue]", part[keyword])
        for part in parts
        for keyword in ("dependentRequired", "dependencies")
        if keyword in part
    ]
    if rules:
        pending = list(closed)
        for name in pending:
            for rule in rules:
                if isinstance(others := rule.get(name), list):
                    fresh = [other for other in cast("list[str]", others) if other not in closed]
                    closed.update(dict.fromkeys(fresh))
                    pending += fresh
    return closed


def _triggered(parts: Parts, chosen: list[str]) -> list[Schema]:
    """Find the schemas that hold because of the properties that are there."""
    return [
        cast("Schema", rule[name])
        for part in parts
        for keyword in ("dependentSchemas", "dependencies")
        if isinstance(rule := part.get(keyword), dict)
        for name in chosen
        if isinstance(rule.get(name), bool | dict)
    ]


def member_schemas(draw: Draw, parts: Parts, name: str) -> list[Schema]:
    """Find the schemas that hold for the property of a name."""
    found: list[Schema] = []
    draw.budget.spend(len(parts) // _PER_STEP + len(name) // _CHARACTERS_PER_STEP)
    for part in parts:
        here: list[Schema] = []
        properties = part.get("properties")
        if isinstance(properties, dict) and name in properties:
            here.append(cast("Schema", properties[name]))
        if "patternProperties" in part:
            patterns = cast("dict[str, Schema]", part["patternProperties"])
            draw.budget.spend(len(patterns))
            here += [schema for pattern, schema in patterns.items() if draw.document.matches(pattern, name)]
        if not here and "additionalProperties" in part:
            here.append(cast("Schema", part["additionalProperties"]))
        found += here
    return found


def _is_dictionary(part: dict[str, JsonValue]) -> bool:
    return "patternProperties" in part or isinstance(part.get("additionalProperties"), dict)


def _new_member(draw: Draw, parts: Parts, depth: int, taken: dict[str, JsonValue]) -> tuple[str, list[Schema]]:
    """Find a name for a property that is not declared, and what holds for it."""
    before = draw.varied
    try:
        for attempt in range(_TRIES):
            draw.budget.spend()
            draw.varied = before or attempt >= _PLAIN_TRIES
            name = _new_name(draw, parts, depth, taken)
            if name not in taken and False not in (schemas := member_schemas(draw, parts, name)):
                return name, schemas
    finally:
        draw.varied = before
    raise DeadEnd("no name was found for another property")


def _new_name(draw: Draw, parts: Parts, depth: int, taken: dict[str, JsonValue]) -> str:
    rules = [cast("Schema", part["propertyNames"]) for part in parts if "propertyNames" in part]
    patterns = [pattern for part in parts for pattern in cast("dict[str, Schema]", part.get("patternProperties", ()))]
    closed = any(part.get("additionalProperties") is False for part in parts)
    if patterns and (closed or draw.generator.random() < 0.5):  # noqa: PLR2004
        sampler = draw.document.sampler(draw.generator.choice(patterns))
        return sampler.sample_around(draw.generator, 0, LONGEST, draw.budget)
    if rules:
        return cast("str", draw.draw_all([*rules, _STRING], depth + 1))
    name = draw.generator.choice(WORDS)
    return f"{name}_{draw.generator.randint(1, MOST)}" if name in taken else name
