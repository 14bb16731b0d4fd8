# -*- test-case-name: tests.config.test_problems -*-
"""What is wrong with a configuration, said in a line each."""

import re
from collections.abc import Sequence
from typing import Final

from attrs import field, frozen

from vllmsim.config.option import Option
from vllmsim.secrecy import open_value

_MOST_SHOWN: Final = 200
_LONGEST: Final = 500


def _short(fault: str) -> str:
    """Leave out the middle of what a long value makes long; how it ends says what is wrong."""
    return fault if len(fault) <= _LONGEST else f"{fault[:_MOST_SHOWN]} ... {fault[-_MOST_SHOWN:]}"


@frozen
class Problem:
    """One thing wrong with the configuration.

    :param key: the option, as the user spelled it.
    :param fault: what is wrong, as a sentence without its end.
    :param origin: where it was given.
    :param option: the option's name, if it is one.
    """

    key: str
    fault: str = field(converter=_short)
    origin: str
    option: str | None = None

    def __str__(self) -> str:
        return f"{_printable(self.key)} ({self.origin}): {self.fault}"


def _printable(key: str) -> str:
    """Have what somebody gave as a name neither break the line nor fill the screen."""
    shown = key if key.isprintable() else repr(key)
    return shown if len(shown) <= _MOST_SHOWN else shown[:_MOST_SHOWN] + "..."


def problems_of(option: Option, key: str, value: object, error: Exception, origin: str) -> list[Problem]:
    """Say why a value does not do: the value, what is allowed, and the detail if there is one.

    :param error: one of :data:`vllmsim.config.kinds.UNREADABLE`.
    """
    faults: Sequence[tuple[str, str]] | None = getattr(error, "faults", None)
    if faults is not None:
        return [Problem(f"{key}.{member}", fault, origin, option.name) for member, fault in faults]
    detail = f"; {error}" if str(error) not in option.kind.allowed and _own_words(error) else ""
    shown = "what is given" if option.secret else repr(open_value(value))
    if len(shown) > _MOST_SHOWN:
        shown = shown[:_MOST_SHOWN] + "..."
    return [Problem(key, f"{shown} will not do: it must be {option.kind.allowed}{detail}", origin, option.name)]


def _own_words(error: Exception) -> bool:
    """Tell our messages from Python's, such as the one of ``int("x")``."""
    ours = isinstance(error, ValueError)
    return ours and not re.match(r"(invalid literal|could not convert|Exceeds the limit)", str(error))
