# -*- test-case-name: tests.structured.test_schemas -*-
"""Strings for schemas: words, or what a pattern or a format asks for, as long as they must be."""

import random
from collections.abc import Mapping, Sequence
from typing import Final

from vllmsim.structured.documents import SchemaDocument
from vllmsim.structured.formats import WORDS, draw_format
from vllmsim.structured.patterns import LONGEST
from vllmsim.structured.values import Budget, DeadEnd, JsonValue, Refusal

_CHARACTERS_PER_STEP: Final = 16
_HALF: Final = 0.5
_VARIETY: Final = 18
"""How many characters longer words become where many must differ: some words more."""


def greatest(parts: Sequence[Mapping[str, JsonValue]], keyword: str, default: int) -> int:
    """Find the strictest of the least numbers that schemas name."""
    found = default
    for part in parts:
        value = part.get(keyword)
        if isinstance(value, int | float):
            found = max(found, int(value))
    return found


def smallest(parts: Sequence[Mapping[str, JsonValue]], keyword: str, default: int) -> int:
    """Find the strictest of the greatest numbers that schemas name."""
    found = default
    for part in parts:
        value = part.get(keyword)
        if isinstance(value, int | float):
            found = min(found, int(value))
    return found


def draw_text(
    parts: Sequence[Mapping[str, JsonValue]],
    document: SchemaDocument,
    generator: random.Random,
    budget: Budget,
    *,
    varied: bool,
) -> str:
    """Draw a string.

    :param parts: schemas that hold together.
    :param varied: where it is made of words, of more than one.
    :raises DeadEnd: when none was found that is as long as it must be.
    :raises Refusal: when it would be longer than any that we write.
    """
    least, most = greatest(parts, "minLength", 0), smallest(parts, "maxLength", LONGEST)
    if least > LONGEST:
        raise Refusal(f"it asks for a string of more than {LONGEST} characters")
    if least > most:
        raise DeadEnd("no string is as long as it asks for")
    budget.spend(1 + least // _CHARACTERS_PER_STEP)
    patterns = [pattern for part in parts if isinstance(pattern := part.get("pattern"), str)]
    formatted = [name for part in parts if isinstance(name := part.get("format"), str)]
    # Of a pattern and a format either may happen to be the other too.
    if patterns and not (formatted and generator.random() < _HALF):
        return document.sampler(generator.choice(patterns)).sample_around(generator, least, most, budget)
    for name in formatted:
        text = draw_format(name, generator, least)
        if text is not None:
            if least <= len(text) <= most:
                return text
            raise DeadEnd(f"no {name} is as long as it asks for")
    return draw_words(generator, min(most, least + _VARIETY) if varied else least, most)


def draw_words(generator: random.Random, least: int, most: int) -> str:
    """Draw a word, or as many as the length asks for."""
    text = generator.choice(WORDS)
    if least <= len(text) <= most:
        return text
    while len(text) < least:
        text = f"{text} {generator.choice(WORDS)}"
    # No blank at the end, where the words are cut.
    return text if len(text) <= most else text[:most].replace(" ", "-")
