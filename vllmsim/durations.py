# -*- test-case-name: tests.test_durations -*-
"""Durations as people write them, and as seconds.

Outside the program a duration is text such as ``"100ms"`` or ``"1m30s"``, or a bare number, which counts
milliseconds unless the option says otherwise. Inside it is always a :class:`float` of seconds, never rounded to a
coarser unit.
"""

import re
from typing import Final

_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_LONGEST: Final = 1e12
_LONGEST_TEXT: Final = 200
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)$")

ALLOWED: Final = 'a duration such as "100ms", "1.5s" or "1m30s" (units ns, us, ms, s, m, h), or a number'


def parse_duration(value: object, bare: float = 1e-3) -> float:
    """Read a duration.

    :param value: text with units, a number, or that number as text.
    :param bare: how many seconds a number without a unit counts.
    :return: seconds; negative when the text has a minus sign.
    :raises ValueError: when `value` is neither; the message says what is allowed.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(ALLOWED)
    if not isinstance(value, str):
        return _finite(value * bare)
    text = value.strip()
    if len(text) > _LONGEST_TEXT:
        raise ValueError(ALLOWED)
    if _NUMBER.match(text):
        return _finite(float(text) * bare)
    sign, digits = (-1.0, text[1:]) if text.startswith("-") else (1.0, text.removeprefix("+"))
    seconds, position = 0.0, 0
    for part in _PART.finditer(digits):
        if part.start() != position:
            raise ValueError(ALLOWED)
        seconds += float(part[1]) * _SECONDS[part[2]]
        position = part.end()
    if not position or position != len(digits):
        raise ValueError(ALLOWED)
    return _finite(sign * seconds)


def _finite(seconds: float) -> float:
    if not abs(seconds) < _LONGEST:
        raise ValueError(ALLOWED)
    return seconds


def format_duration(seconds: float) -> str:
    """Write a duration the way :func:`parse_duration` reads it, to the nanosecond.

    :param seconds: any finite number of seconds.
    :return: the number in the largest unit, up to seconds, that keeps it at least 1: ``"250ms"``, ``"1.5s"``.
    """
    if not seconds:
        return "0s"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if abs(seconds) >= size:
            return f"{round(seconds / size, 9):.9f}".rstrip("0").rstrip(".") + unit
    return f"{round(seconds * 1e9, 3):.3f}".rstrip("0").rstrip(".") + "ns"
