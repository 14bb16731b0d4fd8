# -*- test-case-name: tests.config.test_metricfunctions -*-
"""Values of metrics that change with time, written ``name:start:end:period`` as llm-d-inference-sim does.

So are the words for what is wrong with one, for which its clients may look; ours, which say more, stand beside them.
"""

import math
from collections.abc import Callable, Mapping
from typing import Final

from attrs import frozen

from vllmsim.durations import format_duration, parse_duration


def _oscillate(turns: float) -> float:
    return (1 + math.sin(2 * math.pi * (turns % 1.0))) / 2


def _ramp(turns: float) -> float:
    return min(turns, 1.0)


def _rampreset(turns: float) -> float:
    return turns % 1.0


def _squarewave(turns: float) -> float:
    return float(turns % 1.0 >= 0.5)  # noqa: PLR2004


_SHAPES: Final[Mapping[str, Callable[[float], float]]] = {
    "oscillate": _oscillate,
    "ramp": _ramp,
    "rampreset": _rampreset,
    "squarewave": _squarewave,
}
"""How far each is from its start to its end, from 0 to 1, after so many periods."""
FUNCTIONS: Final = tuple(_SHAPES)
_LONGEST: Final = 200
"""The most characters of a function."""


@frozen
class MetricFunction:
    """A value that changes with time, and never leaves the range between its start and its end.

    ``oscillate`` is a sine that begins in the middle, ``ramp`` goes to the end once and stays there, ``rampreset``
    begins anew after each period, and ``squarewave`` is the start for half of each period and then the end.

    :param period: whole nanoseconds, in seconds.
    """

    name: str
    start: float
    end: float
    period: float

    def __str__(self) -> str:
        return f"{self.name}:{_digits(self.start)}:{_digits(self.end)}:{format_duration(self.period)}"

    def at(self, seconds: float) -> float:
        """Tell the value.

        :param seconds: since the function began.
        """
        way = _SHAPES[self.name](seconds / self.period)
        return self.end if way == 1 else self.start + (self.end - self.start) * way


def _digits(number: float) -> str:
    """Write a number so that it is read back as it is."""
    return repr(number).removesuffix(".0")


def parse_function(text: str) -> MetricFunction:
    """Read ``name:start:end:period``.

    :raises ValueError: when a part is missing, unknown, negative, or the period is zero.
    """
    parts = text.split(":")
    if len(parts) != 4 or len(text) > _LONGEST:  # noqa: PLR2004
        raise ValueError(
            f"{text[:_LONGEST]!r} is not written name:start:end:period (unknown format in fake metric generation"
            " function: need func:start:end:period in fake metric generation function)"
        )
    name, start, end, period = parts
    if name not in FUNCTIONS:
        raise ValueError(
            f"{name!r} is no function (invalid fake metrics generation function {name}, must be one of the following:"
            f" {', '.join(FUNCTIONS)})"
        )
    if period.lstrip("+-").replace(".", "", 1).isdigit():
        raise ValueError(f'the period {period!r} has no unit (time: missing unit in duration "{period}")')
    try:
        function = MetricFunction(name, float(start), float(end), round(parse_duration(period), 9))
    except ValueError as error:
        raise ValueError(f"a part of {text!r} is wrong: {error}") from None
    if not (0 <= function.start < float("inf") and 0 <= function.end < float("inf") and function.period >= 0):
        raise ValueError(
            f"a part of {text!r} is negative or no finite number (invalid fake metrics generation parameter: start and"
            " end must not be negative)"
        )
    if not function.period:
        raise ValueError(
            "the period must be above 0 (invalid fake metrics generation parameter: period must be positive)"
        )
    return function
