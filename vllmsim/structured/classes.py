# -*- test-case-name: tests.structured.test_patterns -*-
"""Characters to choose from where a regular expression has a class.

A class is what Python's parser makes of it: literals, ranges, categories and whether it is negated. Printable ASCII
comes first, and lower-case letters where nearly everything is allowed, so that texts look as if someone wrote them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from re import _constants as sre  # type: ignore[attr-defined,unused-ignore]  # see patterns.py
from typing import Any, Final, TypeAlias

from vllmsim.structured.ecma import PLACE, Property

Items: TypeAlias = Sequence[tuple[Any, Any]]
"""A class in Python's parsed form."""

LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
_PRINTABLE: Final = "".join(map(chr, range(0x20, 0x7F)))
_CONTROL: Final = "".join(map(chr, [*range(9, 14), *range(9), *range(14, 32), 127]))
_WIDE: Final = 70
"""A class with more of the printable characters than this is taken to mean any text."""
_ENOUGH: Final = 64
_ELSEWHERE: Final = (
    range(0xA1, 0x0F00),
    range(0x2010, 0x2100),
    range(0x3041, 0x3100),
    range(0x4E00, 0x4E80),
    range(0xAC00, 0xAC80),
    range(0x1F600, 0x1F650),
    range(0x10000, 0x10100),
)
"""Where characters are looked for when neither ASCII nor the class itself names any."""
_WIDE_WEIGHT: Final = 6
_PROPERTY_WEIGHT: Final = 250
_CLASS_STEPS: Final = 20
_SEARCH_STEPS: Final = 1000
_SURROGATES: Final = range(0xD800, 0xE000)

_CATEGORIES: Final[dict[Any, Callable[[str], bool]]] = {
    sre.CATEGORY_DIGIT: str.isdecimal,
    sre.CATEGORY_NOT_DIGIT: lambda character: not character.isdecimal(),
    sre.CATEGORY_SPACE: str.isspace,
    sre.CATEGORY_NOT_SPACE: lambda character: not character.isspace(),
    sre.CATEGORY_WORD: lambda character: character.isalnum() or character == "_",
    sre.CATEGORY_NOT_WORD: lambda character: not (character.isalnum() or character == "_"),
}


def characters(items: Items, properties: Sequence[Property], *, fold: bool) -> tuple[Sequence[str], int]:
    """Find characters that a class has.

    :param properties: what the characters from :data:`vllmsim.structured.ecma.PLACE` on stand for.
    :param fold: upper and lower case are the same.
    :return: some of them, none if none was found, and how many steps that took.
    """
    negated = bool(items) and items[0][0] is sre.NEGATE
    tests = [*_tests(items, properties)]

    def holds(character: str) -> bool:
        forms = {character, character.lower(), character.upper()} if fold else (character,)
        return any(test(form) for form in forms for test in tests) is not negated

    printable = [*filter(holds, _PRINTABLE)]
    if (negated or len(printable) > _WIDE) and (letters := [c for c in printable if c in LETTERS]):
        return letters, _CLASS_STEPS
    found = printable or [*filter(holds, _CONTROL)][:1] or _first(filter(holds, () if negated else _named(items)))
    if found:
        return found, _CLASS_STEPS
    return _first(filter(holds, (chr(point) for part in _ELSEWHERE for point in part))), _SEARCH_STEPS


def weight(items: Items) -> int:
    """Estimate how long the linear-time matcher takes to compile a class, in microseconds."""
    return 1 + max((_weight(kind, value) for kind, value in items), default=0)


def _weight(kind: Any, value: Any) -> int:
    if kind is sre.LITERAL:
        return _PROPERTY_WEIGHT if value >= PLACE else 0
    if kind is sre.CATEGORY and value in {sre.CATEGORY_DIGIT, sre.CATEGORY_WORD}:
        return 1
    return _WIDE_WEIGHT


def _first(found: Iterable[str]) -> list[str]:
    return [character for character, _ in zip(found, range(_ENOUGH), strict=False)]


def _tests(items: Items, properties: Sequence[Property]) -> Iterator[Callable[[str], bool]]:
    literals: set[str] = set()
    for kind, value in items:
        if kind is sre.LITERAL and value >= PLACE and value - PLACE < len(properties):
            yield properties[value - PLACE]
        elif kind is sre.LITERAL:
            literals.add(chr(value))
        elif kind is sre.RANGE:
            low, high = map(chr, value)
            yield lambda character, low=low, high=high: low <= character <= high  # type: ignore[misc]
        elif kind is sre.CATEGORY:
            yield _CATEGORIES[value]
    yield literals.__contains__


def _named(items: Items) -> Iterator[str]:
    for kind, value in items:
        points: Iterable[int] = ()
        if kind is sre.LITERAL:
            points = (value,)
        elif kind is sre.RANGE:
            points = range(value[0], min(value[1], value[0] + _ENOUGH) + 1)
        yield from (chr(point) for point in points if point not in _SURROGATES and point < PLACE)
