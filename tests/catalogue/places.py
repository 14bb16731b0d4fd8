"""Where numbers can be in what a server takes: in the bodies of its document, and in its gRPC messages."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from google.protobuf.descriptor import Descriptor, FieldDescriptor

Place: TypeAlias = tuple[str | int, ...]
"""The names, and 0 for the first item of a list, that lead to a value of a body."""

_SUBSCHEMAS: Final = ("anyOf", "oneOf", "allOf")
_KEY: Final = "5"
"""Stands for all names that a map may have."""
_INT32: Final = (0, -1, 2**31 - 1, -(2**31))
_INT64: Final = (0, -1, 10**15, 2**63 - 1, -(2**63))
_FLOAT: Final = (0.0, -1.0, 3e38, float("inf"), float("-inf"), float("nan"))
_WIRE: Final[Mapping[int, Sequence[float]]] = {
    FieldDescriptor.CPPTYPE_INT32: _INT32,
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: _INT64,
    FieldDescriptor.CPPTYPE_UINT64: (0, 10**15, 2**64 - 1),
    FieldDescriptor.CPPTYPE_FLOAT: _FLOAT,
    FieldDescriptor.CPPTYPE_DOUBLE: _FLOAT,
    FieldDescriptor.CPPTYPE_ENUM: (99, -1, 2**31 - 1),
}


def numbers(
    components: Mapping[str, Any], schema: Any, place: Place = (), seen: frozenset[str] = frozenset()
) -> set[Place]:
    """Find all places of a body where a number may be.

    :param components: the schemas of the document, by name.
    :param seen: the names of those that this one is part of.
    """
    if (reference := schema.get("$ref")) is not None:
        name = reference.rpartition("/")[2]
        return set() if name in seen else numbers(components, components[name], place, seen | {name})
    found = {place} if schema.get("type") in {"integer", "number"} else set()
    parts = [(place, each) for key in _SUBSCHEMAS for each in schema.get(key, ())]
    parts += [((*place, name), each) for name, each in schema.get("properties", {}).items()]
    parts += [
        ((*place, step), schema[key])
        for key, step in (("items", 0), ("additionalProperties", _KEY))
        if isinstance(schema.get(key), dict)
    ]
    for inner, each in parts:
        found |= numbers(components, each, inner, seen)
    return found


def put(body: Any, place: Place, value: Any) -> Any:
    """Make a body that has a value at a place, and the lists and maps that lead there."""
    if not place:
        return value
    step, rest = place[0], place[1:]
    if isinstance(step, int):
        items = list(body) if isinstance(body, list) else []
        return [put(items[0] if items else None, rest, value), *items[1:]]
    members = copy.copy(body) if isinstance(body, dict) else {}
    members[step] = put(members.get(step), rest, value)
    return members


def fields(message: Descriptor, place: tuple[FieldDescriptor, ...] = ()) -> Iterator[tuple[FieldDescriptor, ...]]:
    """Find all fields of a gRPC message, and of those within it, that are numbers."""
    for each in message.fields:
        inner = each.message_type
        if inner is None:
            if each.cpp_type in _WIRE:
                yield *place, each
        elif not inner.GetOptions().map_entry and inner not in [outer.message_type for outer in place]:
            yield from fields(inner, (*place, each))


def extremes(field: FieldDescriptor) -> Sequence[float]:
    """Tell the odd values that a field can have on the wire."""
    return _WIRE[field.cpp_type]


def put_field(message: Any, place: Sequence[FieldDescriptor], value: float) -> None:
    """Set a field of a message, or add a first item to it."""
    for each in place[:-1]:
        inner = getattr(message, each.name)
        if hasattr(inner, "add"):
            inner = inner[0] if inner else inner.add()
        message = inner
    last = getattr(message, place[-1].name)
    if hasattr(last, "append"):
        last.append(value)
    else:
        setattr(message, place[-1].name, value)
