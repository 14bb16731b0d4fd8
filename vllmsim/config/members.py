# -*- test-case-name: tests.config.test_members -*-
"""Reads maps in structured options, member by member, and remembers everything that is wrong with them.

What reads a value takes what YAML or JSON made of it and raises :class:`ValueError` with what must be there instead, or
:class:`vllmsim.config.fakemetrics.InvalidMembers` with the members of it that are wrong.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from vllmsim.config.fakemetrics import InvalidMembers
from vllmsim.durations import ALLOWED, parse_duration

LONGEST_TEXT: Final = 4096
"""The most characters of a text in a structured option."""
_MOST: Final = 1 << 31
_LONGEST_TIME: Final = 86_400.0


class Members:
    """The members of one map.

    :param members: the map; what YAML and JSON leave empty is not there.
    """

    def __init__(self, members: Mapping[Any, object]) -> None:
        self._rest = {str(name): member for name, member in members.items() if member is not None}
        self.given = frozenset(self._rest)
        """The names of those that are there."""
        self.faults: list[tuple[str, str]] = []
        """What is wrong so far: the path of a member below the map, and what is wrong with it."""

    def fault(self, name: str, text: str) -> None:
        """Remember that a member is wrong."""
        self.faults.append((name[:LONGEST_TEXT], text))

    def take(self, name: str, read: Callable[[Any], Any], default: Any = None) -> Any:
        """Read a member.

        :param default: what it is when it is not there, or wrong.
        """
        if name not in self._rest:
            return default
        try:
            return read(self._rest.pop(name))
        except InvalidMembers as error:
            self.faults += [(f"{name}.{member}", text) for member, text in error.faults]
        except (ValueError, OverflowError, RecursionError) as error:
            self.fault(name, str(error))
        return default

    def finish(self, text: str) -> None:
        """Remember what nobody has taken.

        :param text: what is wrong with it.
        """
        for name in self._rest:
            self.fault(name, text)


def read_members(value: object, alone: str, **readers: Callable[[Any], Any]) -> dict[str, Any]:
    """Read a map, or what may stand in the place of one.

    :param alone: which member that is.
    :param readers: what reads each member that there may be.
    :return: the members that are there.
    """
    members = Members(value if isinstance(value, Mapping) else {alone: value})
    read = {name: members.take(name, each) for name, each in readers.items() if name in members.given}
    members.finish(f"is none of {', '.join(readers)}")
    if not members.faults:
        return read
    if isinstance(value, Mapping):
        raise InvalidMembers(members.faults)
    raise ValueError(f"{members.faults[0][1]}, or a map of {', '.join(readers)}")


def text(value: object) -> str:
    """Read text; numbers are text too."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("must be text")
    if len(str(value)) > LONGEST_TEXT:
        raise ValueError(f"must have at most {LONGEST_TEXT} characters")
    return str(value)


def flag(value: object) -> bool:
    """Read yes or no."""
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def integer(value: object, least: int, most: int) -> int:
    """Read an integer."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"must be an integer from {least} to {most}")
    return value


def count(value: object) -> int:
    """Read how many there are."""
    return integer(value, 0, _MOST)


def positive(value: object) -> int:
    """Read how many there are, at least one."""
    return integer(value, 1, _MOST)


def percent(value: object) -> float:
    """Read a number of hundredths."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:  # noqa: PLR2004
        raise ValueError("must be a number from 0 to 100")
    return float(value)


def duration(value: object, bare: float = 1e-3) -> float:
    """Read a time of at most a day.

    :param bare: how many seconds a number without a unit counts.
    """
    try:
        seconds = parse_duration(value, bare)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _LONGEST_TIME:
        raise ValueError(f"must be {ALLOWED} of {'seconds' if bare == 1 else 'milliseconds'}, of at most a day")
    return seconds


def seconds(value: object) -> float:
    """Read a time, of which a number counts seconds."""
    return duration(value, 1.0)


def lasting(value: object) -> float:
    """Read a time that is not nothing."""
    time = duration(value)
    if not time:
        raise ValueError("must be above 0")
    return time
