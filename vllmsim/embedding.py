# -*- test-case-name: tests.test_embedding -*-
"""The word embedder: what a text's vector is when there is no model.

It is a random projection of a bag of words. Blanks around a token and its case do not count, so that ``Hello`` and
``hello`` are one word; tokens without a letter or a digit count only in texts that have nothing else. Each word has a
direction of its own: 1024 odd numbers from -255 to 255 that SHAKE-128 makes of the word. A word that occurs n times
weighs as much as n has binary digits: 1, 2, 2, 3, 3, 3, 3, 4 ... The vector is the sum of the weighted directions, made
one long. So it is the same in every process and on every machine; and since directions of different words are almost at
right angles, the cosine of two texts is about that of their weighted words: 0 if they share none, 1 if they have the
same ones equally often. In some dozens of dimensions that is a tendency, in some hundreds it can be relied on.

Of the 1024 numbers the first are taken where fewer are wanted. Where more are wanted they follow again, each time
turned by another number of places, which keeps every cosine. A shorter vector is therefore the beginning of a longer
one, but for the length, as with models that are called matryoshka.

A token id is a word too, whatever its text: what a tokenizer remembers of ids differs from server to server.
"""

import hashlib
import math
import struct
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from operator import mul
from typing import Any, Final

from attrs import field, frozen
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from vllmsim.interfaces import IEmbedder

_WIDTH: Final = 1024
_TURN: Final = 389
_LANE: Final = 4
_LARGEST: Final = 255
_LONG: Final = 64
_MOST_WORDS: Final = 1 << 16
"""The most different words of a text that count. It bounds the work, and keeps the sum in a lane below 32 bits."""
_INLINE: Final = 1 << 16
"""The most work that is done without a thread, as :meth:`WordEmbedder._thread_if` counts it: half a millisecond."""
_PER_WORD: Final = 200


@lru_cache(maxsize=4096)
def _direction(word: str | int, width: int) -> int:
    """Make a word's direction.

    :return: its numbers from 0 to 255, of which 2 n - 255 are meant, in lanes of 32 bits of one integer, so that a
        single addition adds them all.
    """
    name = f"#{word}" if isinstance(word, int) else f"'{word}"
    lanes = bytearray(_LANE * width)
    lanes[::_LANE] = hashlib.shake_128(name.encode("utf-8", "surrogatepass")).digest(width)
    return int.from_bytes(lanes, "little")


def _words(tokens: Iterable[str | int]) -> Iterator[str | int]:
    for token in tokens:
        if isinstance(token, int):
            yield token
        elif word := token.strip().casefold():
            # Directions are remembered by their words, which must not take memory as clients please.
            yield word if len(word) <= _LONG else hashlib.blake2b(word.encode("utf-8", "surrogatepass")).hexdigest()


@frozen(eq=False)
class _Bag:
    """A text's words.

    :param weights: how much each weighs; at least one.
    """

    weights: dict[str | int, int]
    squares: int = field(init=False)

    @squares.default
    def _sum_squares(self) -> int:
        return sum(weight * weight for weight in self.weights.values())

    def cosine(self, other: "_Bag") -> float:
        """Compare two texts."""
        few, many = sorted((self.weights, other.weights), key=len)
        shared = sum(weight * many.get(word, 0) for word, weight in few.items())
        return min(1.0, shared / math.sqrt(self.squares * other.squares))

    def vector(self, dimensions: int) -> "array[float]":
        """Make the text's vector."""
        width = min(dimensions, _WIDTH)
        lanes = sum(_direction(word, width) * weight for word, weight in self.weights.items())
        middle = _LARGEST * sum(self.weights.values())
        numbers = [2 * lane - middle for lane in struct.unpack(f"<{width}I", lanes.to_bytes(_LANE * width, "little"))]
        if not any(numbers):
            return _NOTHING.vector(dimensions)
        rounds, rest = divmod(dimensions, width)
        turn = rounds * _TURN % width
        last = (numbers[turn:] + numbers[:turn])[:rest]
        length = math.sqrt(rounds * sum(map(mul, numbers, numbers)) + sum(map(mul, last, last)))
        once = array("f", [number / length for number in numbers])
        whole = array("f")
        for turn in range(0, rounds * _TURN + 1, _TURN):
            whole += once[turn % width :] + once[: turn % width]
        return whole[:dimensions]


_NOTHING: Final = _Bag({"": 1})
"""The text without words. Like any single word it has no number that is 0."""


def _bag(tokens: Iterable[str | int]) -> _Bag:
    counts = Counter(_words(tokens))
    spoken = {word: count for word, count in counts.items() if isinstance(word, int) or any(map(str.isalnum, word))}
    weights = {word: count.bit_length() for word, count in islice((spoken or counts).items(), _MOST_WORDS)}
    return _Bag(weights) if weights else _NOTHING


def _embed(tokens: Sequence[str | int], dimensions: int) -> "array[float]":
    return _bag(tokens).vector(dimensions)


def _compare(tokens: Sequence[str | int], others: Sequence[Sequence[str | int]]) -> list[float]:
    bag = _bag(tokens)
    return [bag.cosine(_bag(other)) for other in others]


@implementer(IEmbedder)
@frozen(eq=False)
class WordEmbedder:
    """Embeds texts by their words.

    :param defer_to_thread: runs a function off the reactor; long texts are embedded there.
    """

    _defer_to_thread: Callable[..., Deferred[Any]]

    def embed(self, tokens: Sequence[str | int], dimensions: int) -> "Deferred[Sequence[float]]":
        """Make the vector, in a thread if the text is long."""
        return self._thread_if(len(tokens) * (_PER_WORD + min(dimensions, _WIDTH)), _embed, tokens, dimensions)

    def compare(
        self, tokens: Sequence[str | int], others: Sequence[Sequence[str | int]]
    ) -> "Deferred[Sequence[float]]":
        """Compare words, in a thread if there are many."""
        return self._thread_if((len(tokens) + sum(map(len, others))) * _PER_WORD, _compare, tokens, others)

    def _thread_if(self, work: int, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """Run a function here if it is quick.

        :param work: how long it takes, in numbers of directions made, each some 8 ns.
        """
        if work <= _INLINE:
            return succeed(function(*arguments))
        return self._defer_to_thread(function, *arguments)
