# -*- test-case-name: tests.structured.test_values -*-
"""JSON values as Python has them, what can be asked about them, and what is raised when none can be made."""

import json
from collections.abc import Mapping
from typing import Final, TypeAlias

from attrs import define, field, frozen, validators

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
Schema: TypeAlias = bool | dict[str, JsonValue]

TYPES: Final = ("string", "integer", "number", "boolean", "object", "array", "null")

_NAMES: Final[Mapping[type, tuple[str, ...]]] = {
    bool: ("boolean",),
    int: ("integer", "number"),
    float: ("number",),
    str: ("string",),
    list: ("array",),
    dict: ("object",),
    type(None): ("null",),
}


class DeadEnd(Exception):
    """A draw leads nowhere; another may not."""


class TooDeep(DeadEnd):
    """A draw goes on without end, and would do so again."""


class Refusal(Exception):
    """No draw will do: what is asked for is wrong, not supported, or more than we make."""


class Exhausted(Refusal):
    """As much work has been done as may be."""


@define
class Budget:
    """How much work may still be done for one value. A step is a microsecond or a few.

    What is worked out once and remembered costs every value the same, so that no value depends on those before it.

    :param steps: how many are left.
    """

    steps: int
    _remembered: set[object] = field(init=False, factory=set)

    def spend(self, steps: int = 1) -> None:
        """Do some work.

        :raises Exhausted: when there has been too much.
        """
        self.steps -= steps
        if self.steps < 0:
            raise Exhausted("it takes too many steps")

    def spend_once(self, work: object, steps: int) -> None:
        """Do work that this value needs once; whether it has been done for another value does not matter.

        :param work: what it is; the same work is the same object, or equal.
        :raises Exhausted: when there has been too much.
        """
        if work not in self._remembered:
            self._remembered.add(work)
            self.spend(steps)


@frozen
class Ranges:
    """What values are like where a schema leaves it open. Where it does not, the schema wins.

    :param integer_least: smallest integer.
    :param integer_most: largest integer.
    :param number_least: smallest number.
    :param number_most: largest number.
    :param array_least: fewest elements of an array, and entries of an object that is a dictionary.
    :param array_most: most of them.
    :param optional_probability: how often, from 0 to 1, the top-level object has a property that is not required.
    :param optional_field_probability: the same for the objects inside it.
    """

    integer_least: int = 0
    integer_most: int = 100
    number_least: float = 0.0
    number_most: float = 100.0
    array_least: int = field(default=1, validator=validators.ge(0))
    array_most: int = field(default=5, validator=validators.ge(0))
    optional_probability: float = field(default=0.5, validator=[validators.ge(0), validators.le(1)])
    optional_field_probability: float = field(default=0.5, validator=[validators.ge(0), validators.le(1)])


def json_text(value: JsonValue) -> str:
    """Write a value as vLLM writes the arguments of a call: ``{"city": "SF", "days": 3}``.

    :return: JSON with a blank after each colon and comma, and every character as it is.
    """
    return json.dumps(value, ensure_ascii=False)


def has_type(value: JsonValue, name: str) -> bool:
    """Tell whether a value is of one of JSON Schema's types; 3.0 is an integer too."""
    if isinstance(value, float) and value.is_integer() and name == "integer":
        return True
    return name in _NAMES[type(value)]


def identity(value: JsonValue) -> object:
    """Make what is equal for two values that JSON Schema takes for equal, and can be in a set.

    Numbers are compared by what they count, members of objects in any order, and true is not 1.
    """
    match value:
        case bool():
            return (value,)
        case list():
            return ("array", *map(identity, value))
        case dict():
            return frozenset((name, identity(member)) for name, member in value.items())
    return value
