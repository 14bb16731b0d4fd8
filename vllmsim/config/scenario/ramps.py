# -*- test-case-name: tests.config.scenario.test_steps -*-
"""Reads what a step of a scenario says of options: their new values, and where they go in the course of time."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from vllmsim.config.edits import read_edit
from vllmsim.config.fakemetrics import InvalidMembers
from vllmsim.config.kinds import UNREADABLE, Duration, Integer, Number
from vllmsim.config.members import LONGEST_TEXT
from vllmsim.config.names import find, suggest
from vllmsim.config.scenario.members import read_share
from vllmsim.config.scenario.values import PRESSURE, Ramp

_MOST: Final = 100
"""The most options that are ramped at once."""


def read_options(value: object) -> dict[str, object]:
    """Read options and their values, which are checked as those are that an operator sends.

    :return: the values, as a file would have them, by the names of the options.
    """
    if not isinstance(value, Mapping):
        raise ValueError("must be a map of options and their values")
    values = {str(name): member for name, member in value.items()}
    edit = read_edit(values)
    if edit.faults:
        raise InvalidMembers([(name, fault.removeprefix(f"{name}: ")) for name, fault in edit.faults])
    return dict(_named(name, member) for name, member in values.items() if member is not None)


def _named(name: str, value: object) -> tuple[str, object]:
    """Name an option as it is called, not by one of its other names, of which some say the opposite."""
    meaning = find(name)
    assert meaning is not None
    return meaning.option.name, not meaning.option.kind.from_value(value) if meaning.negated else value


def read_ramps(value: object, begin: float, over: float) -> tuple[Ramp, ...]:
    """Read which options go where.

    :param begin: when they begin to, in seconds from the start of the scenario.
    :param over: how many seconds that takes.
    """
    if not isinstance(value, Mapping) or not 1 <= len(value) <= _MOST:
        raise ValueError(f"must be a map of 1 to {_MOST} options and the values that they go to")
    ramps: dict[str, Ramp] = {}
    faults: list[tuple[str, str]] = []
    for name, ends in value.items():
        try:
            ramp = _ramp(str(name), ends, begin, begin + over)
            if ramp.name in ramps:
                raise ValueError("is there twice")
        except UNREADABLE as error:
            faults.append((str(name)[:LONGEST_TEXT], str(error)))
        else:
            ramps[ramp.name] = ramp
    if faults:
        raise InvalidMembers(faults)
    return tuple(ramps.values())


def _ramp(name: str, ends: object, begin: float, end: float) -> Ramp:
    read: Callable[[object], Any]
    if name.replace("_", "-") == PRESSURE:
        name, whole, read, allowed = PRESSURE, False, read_share, "a number from 0 to 1"
    else:
        meaning = find(name)
        if meaning is None or not meaning.option.live:
            guess = None if meaning else suggest(name)
            raise ValueError("is no option that can change live" + (f"; did you mean {guess}?" if guess else ""))
        kind = meaning.option.kind
        if not isinstance(kind, Duration | Number | Integer) or (isinstance(kind, Integer) and kind.choices):
            raise ValueError("is no number that could go from one to another")
        name, whole, read, allowed = meaning.option.name, isinstance(kind, Integer), kind.from_value, kind.allowed
    both = ends if isinstance(ends, list) else [ends]
    if not 1 <= len(both) <= 2:  # noqa: PLR2004
        raise ValueError("must be where it goes to, or a list of where it begins and where it goes to")
    try:
        numbers: list[Any] = [read(each) for each in both]
    except UNREADABLE:
        numbers = [None]
    if None in numbers:
        raise ValueError(f"will not do: where it begins and where it goes to must be {allowed}")
    return Ramp(name, numbers[0] if len(numbers) > 1 else None, numbers[-1], begin, end, whole)
