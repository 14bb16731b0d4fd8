# -*- test-case-name: tests.calibration.reports.test_fields -*-
"""What all reports have in common: values that may be missing, or of another kind than they should."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any


class ReportError(Exception):
    """A file cannot be used.

    :param reason: a sentence without its end.
    """


def number(value: object) -> float | None:
    """Take a finite number, or nothing."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        taken = float(value)
    except OverflowError:
        return None
    return taken if isfinite(taken) else None


def count(value: object) -> int | None:
    """Take a whole number that is not negative, or nothing."""
    if number(value) is None or not isinstance(value, int | float) or value < 0 or value != int(value):
        return None
    return int(value)


def mapping(value: object) -> Mapping[str, Any]:
    """Take a map; what is none is an empty one."""
    return value if isinstance(value, Mapping) else {}


def sequence(value: object) -> Sequence[Any]:
    """Take a list; what is none is an empty one."""
    return value if isinstance(value, list) else ()


def numbers(value: object) -> list[float]:
    """Take a list of numbers; what is none is an empty one."""
    taken = [number(each) for each in sequence(value)]
    return [each for each in taken if each is not None] if None not in taken else []
