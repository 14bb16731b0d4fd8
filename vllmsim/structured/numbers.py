# -*- test-case-name: tests.structured.test_schemas -*-
"""Integers and numbers between bounds, and multiples of what they must be multiples of.

Bounds and multiples are those of all the schemas that a value must satisfy together. Where both ends are open, the
ranges hold; where a schema's one end lies outside them, the other end is as far from it as the ranges are wide.
"""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Final, TypeAlias, TypeVar

from vllmsim.structured.values import DeadEnd, JsonValue, Ranges, Refusal

Number: TypeAlias = int | float
N = TypeVar("N", int, float)

_DIGITS: Final = (2, 2, 3, 4, 5, 6, 8, 10, 12, 15)
"""How many decimals are tried, one after the other."""
_NEIGHBOURS: Final = 64
"""How many multiples are looked at for one whose quotient is whole in floating point too."""

_MOST_MULTIPLES: Final = 16
_MOST_BITS: Final = 2_000


def draw_integer(parts: Sequence[Mapping[str, JsonValue]], ranges: Ranges, generator: random.Random) -> int:
    """Draw an integer.

    :param parts: schemas that hold together.
    :raises DeadEnd: when no integer satisfies their bounds.
    """
    lower, lower_open = _lower(parts)
    upper, upper_open = _upper(parts)
    least = None if lower is None else math.floor(lower) + 1 if lower_open else math.ceil(lower)
    most = None if upper is None else math.ceil(upper) - 1 if upper_open else math.floor(upper)
    step = _common(_multiples(parts)).numerator
    low, high = _span(least, most, ranges.integer_least, ranges.integer_most)
    first, last = -(-low // step), high // step
    if first > last:
        if least is None and most is not None:
            first = last
        elif most is None:
            last = first
        else:
            raise DeadEnd(f"no integer lies between {_shown(least)} and {_shown(most)}")
    return generator.randint(first, last) * step


def draw_number(parts: Sequence[Mapping[str, JsonValue]], ranges: Ranges, generator: random.Random) -> Number:
    """Draw a number, with two decimals if the bounds leave room for such.

    :param parts: schemas that hold together.
    :raises DeadEnd: when none was found that satisfies their bounds.
    """
    multiples = _multiples(parts)
    try:
        if multiples:
            return _draw_multiple(parts, multiples, ranges, generator)
        return _draw_decimal(parts, ranges, generator)
    except OverflowError:
        # The bounds are integers beyond what floating point holds.
        return draw_integer(parts, ranges, generator)


def _draw_decimal(parts: Sequence[Mapping[str, JsonValue]], ranges: Ranges, generator: random.Random) -> Number:
    lower, lower_open = _lower(parts)
    upper, upper_open = _upper(parts)
    low, high = map(float, _span(lower, upper, ranges.number_least, ranges.number_most))
    for digits in _DIGITS:
        share = generator.random()
        drawn = round(low * (1 - share) + high * share, digits)
        if _within(drawn, lower, lower_open, upper, upper_open):
            return drawn
    ends = (low, high, math.nextafter(low, math.inf), math.nextafter(high, -math.inf), low / 2 + high / 2)
    for end in (lower, upper, *ends):
        if end is not None and math.isfinite(end) and _within(end, lower, lower_open, upper, upper_open):
            return end
    raise DeadEnd(f"no number lies between {_shown(lower)} and {_shown(upper)}")


def _draw_multiple(
    parts: Sequence[Mapping[str, JsonValue]], multiples: Sequence[Fraction], ranges: Ranges, generator: random.Random
) -> Number:
    lower, lower_open = _lower(parts)
    upper, upper_open = _upper(parts)
    low, high = _span(lower, upper, ranges.number_least, ranges.number_most)
    step = _common(multiples)
    first, last = math.ceil(Fraction(low) / step), math.floor(Fraction(high) / step)
    if first > last:
        first, last = min(first, last), max(first, last)
    begin, width = generator.randint(first, last) - first, last - first + 1
    possible: Number | None = None
    for offset in range(min(width, _NEIGHBOURS)):
        exact = (first + (begin + offset) % width) * step
        drawn = exact.numerator if exact.denominator == 1 else float(exact)
        if _within(drawn, lower, lower_open, upper, upper_open):
            if all(_divides(part, drawn) for part in parts):
                return drawn
            possible = drawn
    if possible is None:
        raise DeadEnd(f"no multiple of {_shown(float(step))} lies between {_shown(lower)} and {_shown(upper)}")
    return possible


def _divides(part: Mapping[str, JsonValue], drawn: Number) -> bool:
    """Tell whether the quotient is whole also for those who divide in floating point."""
    multiple = part.get("multipleOf")
    if not isinstance(multiple, float) and not isinstance(drawn, float):
        return True
    if not isinstance(multiple, int | float):
        return True
    quotient = drawn / multiple
    return math.isinf(quotient) or quotient == int(quotient)


def _lower(parts: Sequence[Mapping[str, JsonValue]]) -> tuple[Number | None, bool]:
    """Find the greatest of the lower bounds, and whether it is itself excluded."""
    return max(
        _bounds(parts, "minimum", "exclusiveMinimum"), key=lambda bound: (bound[0], bound[1]), default=(None, False)
    )


def _upper(parts: Sequence[Mapping[str, JsonValue]]) -> tuple[Number | None, bool]:
    return min(
        _bounds(parts, "maximum", "exclusiveMaximum"), key=lambda bound: (bound[0], not bound[1]), default=(None, False)
    )


def _bounds(parts: Sequence[Mapping[str, JsonValue]], name: str, exclusive: str) -> Iterator[tuple[Number, bool]]:
    for part in parts:
        bound, edge = part.get(name), part.get(exclusive)
        if isinstance(bound, int | float):
            # Draft 4 says of its one bound whether it is excluded.
            yield bound, edge is True
        if isinstance(edge, int | float) and not isinstance(edge, bool):
            yield edge, True


def _multiples(parts: Sequence[Mapping[str, JsonValue]]) -> list[Fraction]:
    named = dict.fromkeys(multiple for part in parts if isinstance(multiple := part.get("multipleOf"), int | float))
    # 0.1 means a tenth, not the nearest binary fraction.
    return [Fraction(repr(multiple)) if isinstance(multiple, float) else Fraction(multiple) for multiple in named]


def _common(multiples: Sequence[Fraction]) -> Fraction:
    """Find the least number that is a multiple of all; 1 if there are none."""
    if not multiples:
        return Fraction(1)
    if len(multiples) > _MOST_MULTIPLES:
        raise Refusal("it asks for a multiple of too many numbers")
    step = multiples[0]
    for multiple in multiples[1:]:
        step = Fraction(math.lcm(step.numerator, multiple.numerator), math.gcd(step.denominator, multiple.denominator))
        if step.numerator.bit_length() > _MOST_BITS:
            raise Refusal("it asks for a multiple of too many numbers")
    return step


def _span(lower: N | None, upper: N | None, least: N, most: N) -> tuple[N, N]:
    width = max(least, most) - least
    if lower is None and upper is None:
        return least, least + width
    if upper is None:
        assert lower is not None
        return lower, most if most > lower else lower + width
    if lower is None:
        return least if least < upper else upper - width, upper
    return lower, upper


def _within(value: Number, lower: Number | None, lower_open: bool, upper: Number | None, upper_open: bool) -> bool:
    if lower is not None and (value < lower or (lower_open and value == lower)):
        return False
    return upper is None or (value <= upper and not (upper_open and value == upper))


def _shown(bound: Number | None) -> str:
    return "anything" if bound is None else str(bound)[:24]
