# -*- test-case-name: tests.dataset.test_lengths -*-
"""How long random answers are, as llm-d-inference-sim chooses it."""

import random
from typing import Final

_CLASS_ENDS: Final = (0.2, 0.5, 0.7, 0.75, 0.85)
"""Cumulative probabilities of the five length classes below the limit; what remains is the limit itself."""
_NARROW: Final = 101
_WIDTH: Final = 20
_MEAN: Final = 40
_DEVIATION: Final = 20


def length_class(limit: int, index: int) -> tuple[int, int]:
    """Find the bounds of one of the five classes below a limit of at least 7.

    Up to 101 tokens the classes share the limit evenly. Above, they are 20 wide but for the fourth, which has the
    rest.

    :return: the least and the greatest length, both included.
    """
    if limit <= _NARROW:
        share = (limit - 1) / 5
        start, end = int(share * index) + 1, int(share * (index + 1))
    else:
        edges = (0, _WIDTH, 2 * _WIDTH, 3 * _WIDTH, limit - _WIDTH, limit)
        start, end = edges[index] + 1, edges[index + 1]
        if index == len(_CLASS_ENDS) - 1:
            start = limit - _WIDTH + 1
    return start, min(end, limit - 1)


def limited_length(limit: int, generator: random.Random) -> int:
    """Draw a length for a request that names its limit.

    :param limit: at least 1.
    :return: from 1 to `limit`.
    """
    if limit <= 6:  # noqa: PLR2004 - too short for five classes
        return limit if limit <= 1 else generator.randint(1, limit)
    draw = generator.random()
    for index, end in enumerate(_CLASS_ENDS):
        if draw <= end:
            return generator.randint(*length_class(limit, index))
    return limit


def free_length(limit: int, generator: random.Random) -> int:
    """Draw a length for a request that leaves it to the model: about 40 tokens, as far as the context goes.

    :param limit: what the context holds, at least 1.
    :return: from 1 to `limit`.
    """
    if limit < _WIDTH:
        return generator.randint(1, limit)
    while True:
        length = int(generator.gauss(_MEAN, _DEVIATION) + 0.5)
        if 1 <= length <= limit:
            return length
