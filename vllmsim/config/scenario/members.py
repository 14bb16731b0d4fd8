# -*- test-case-name: tests.config.scenario.test_steps -*-
"""Reads what scenarios have in several places, in the manner of :mod:`vllmsim.config.members`."""

import difflib
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, TypeVar

from vllmsim.config.members import Members, text
from vllmsim.durations import parse_duration

T = TypeVar("T")

_MOST_AT_ONCE: Final = 100
_LONGEST_NAME: Final = 128
_LONGEST_TIME: Final = 366 * 86_400.0


def normal(value: Mapping[Any, Any]) -> dict[str, Any]:
    """Write the names of members with dashes."""
    return {str(name).replace("_", "-"): member for name, member in value.items()}


def blame_unknown(members: Members, known: Collection[str]) -> None:
    """Find members that are none of those that there are."""
    for name in sorted(members.given - {*known}):
        guess = difflib.get_close_matches(name, known, n=1)
        members.fault(name, f"is none of {', '.join(known)}" + (f"; did you mean {guess[0]}?" if guess else ""))


def read_name(value: object) -> str:
    """Read what something is called."""
    name = text(value)
    if not 1 <= len(name) <= _LONGEST_NAME or not name.isprintable():
        raise ValueError(f"must be a name of 1 to {_LONGEST_NAME} printable characters")
    return name


def read_time(value: object) -> float:
    """Read a time. A number alone could be seconds or milliseconds, and so is neither, but for 0."""
    try:
        seconds = -1.0 if _is_number(value) else parse_duration(value)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _LONGEST_TIME:
        raise ValueError('must be a time with its unit, such as "10s" or "1m30s", of at most 366 days')
    return seconds


def _is_number(value: object) -> bool:
    try:
        return (not isinstance(value, str) and value != 0) or float(value) != 0
    except ValueError:
        return False


def read_lasting(value: object) -> float:
    """Read a time that is not nothing."""
    seconds = read_time(value)
    if not seconds:
        raise ValueError("must be a time above 0")
    return seconds


def read_share(value: object) -> float:
    """Read a part of a whole."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError("must be a number from 0 to 1")
    return float(value)


def read_yes(value: object) -> bool:
    """Read what can only be left out, or true."""
    if value is not True:
        raise ValueError("must be true, or left out")
    return True


def read_several(value: object, read: Callable[[object], T]) -> tuple[T, ...]:
    """Read one of something, or a list of some."""
    if not isinstance(value, list):
        return (read(value),)
    if not 1 <= len(value) <= _MOST_AT_ONCE:
        raise ValueError(f"must be one, or a list of 1 to {_MOST_AT_ONCE}")
    return tuple(map(read, value))
