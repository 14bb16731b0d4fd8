# -*- test-case-name: tests.structured.test_patterns -*-
r"""Texts that a regular expression matches, as a whole and at random.

A pattern is parsed once into a tree of pieces. Each piece knows how short and how long its texts can be, and writes
one when told how long it may be. What pieces write is a match by construction; where the text must begin or end and
where words do (``^``, ``$``, ``\b``) is looked at as it is written, and the draw repeated where it does not fit.
"""

import random
import re
from collections.abc import Iterator

# The standard library's parser has no public name. It is the one library that reads the dialect that vLLM's users
# write, is there in every Python that we support, and its output has been the same in all of them.
from re import _constants as sre  # type: ignore[attr-defined,unused-ignore]
from re import _parser as parser  # type: ignore[attr-defined,unused-ignore]
from typing import Any, Final

from vllmsim.errors import InvalidRequest
from vllmsim.structured.ecma import Property, translate
from vllmsim.structured.pieces import Again, Characters, Choice, Edge, Filler, Group, Literal, Piece, Repeat, Run
from vllmsim.structured.values import Budget, DeadEnd, Refusal
from vllmsim.structured.writing import Writing

LONGEST: Final = 4096
"""The most characters of a text, unless its reader allows fewer."""
_TRIES: Final = 24
_STEPS: Final = 6_000

_EDGES: Final = {
    sre.AT_BEGINNING: "begin",
    sre.AT_BEGINNING_STRING: "begin",
    sre.AT_END: "end",
    sre.AT_END_STRING: "end",
    sre.AT_BOUNDARY: "boundary",
    sre.AT_NON_BOUNDARY: "within",
}
_UNSUPPORTED: Final = {
    sre.ASSERT: "lookaround",
    sre.ASSERT_NOT: "lookaround",
    sre.GROUPREF_EXISTS: "conditional groups",
    sre.ATOMIC_GROUP: "atomic groups",
    sre.POSSESSIVE_REPEAT: "possessive repetition",
}


class PatternSampler:
    """Writes texts for one regular expression.

    :param pattern: in the dialect of ECMA-262 or of Python, whichever the client writes.
    :raises vllmsim.structured.values.Refusal: when it cannot be read, or has what we do not support.
    """

    def __init__(self, pattern: str) -> None:
        translation = translate(pattern)
        try:
            parsed = parser.parse(translation.text)
            self._piece = _Reader(translation.properties).read(parsed, fold=bool(parsed.state.flags & re.IGNORECASE))
        except (re.error, ValueError, OverflowError, RecursionError) as error:
            raise Refusal(f"the regular expression cannot be read: {error}") from error

    @property
    def weight(self) -> int:
        """How long a linear-time matcher takes to compile the pattern: an estimate in microseconds."""
        return self._piece.weight

    def sample(self, generator: random.Random, least: int, most: int, budget: Budget) -> str:
        """Draw a text that the whole pattern matches.

        :param least: its fewest characters.
        :param most: its most characters.
        :param budget: what the work is taken from.
        :raises DeadEnd: when no draw succeeded.
        :raises Refusal: when the budget is used up.
        """
        return _draw(self._piece, generator, least, most, budget)

    def sample_around(self, generator: random.Random, least: int, most: int, budget: Budget) -> str:
        """Draw a text in which the pattern is found: the whole, if its length allows, or else a part of it.

        :param least: the text's fewest characters.
        :param most: its most characters.
        :param budget: what the work is taken from.
        :raises DeadEnd: when no draw succeeded.
        :raises Refusal: when the budget is used up.
        """
        try:
            return self.sample(generator, least, most, budget)
        except DeadEnd:
            around = Choice([Run([Filler(), self._piece, Filler()]), Run([Filler(), self._piece])])
            return _draw(around, generator, least, most, budget)


def _draw(piece: Piece, generator: random.Random, least: int, most: int, budget: Budget) -> str:
    if piece.least > most or piece.most < least:
        raise DeadEnd("the pattern matches no text of the length that is asked for")
    reason = "the lengths that are asked for do not fit the pattern"
    for _ in range(_TRIES):
        writing = Writing(generator, budget)
        try:
            piece.write(writing, least, most)
            text = writing.finished()
        except DeadEnd as error:
            reason = str(error)
            continue
        if least <= len(text) <= most:
            return text
    raise DeadEnd(reason)


def sample_pattern(pattern: str, generator: random.Random, least: int = 0, most: int = LONGEST) -> str:
    """Draw a text that a regular expression matches as a whole.

    :param pattern: in the dialect of ECMA-262 or of Python.
    :param least: the fewest characters of the text.
    :param most: the most characters of it.
    :raises vllmsim.errors.InvalidRequest: when the pattern cannot be read or is not supported, or when no text of
        such a length was found.
    """
    try:
        return PatternSampler(pattern).sample(generator, least, most, Budget(_STEPS))
    except (DeadEnd, Refusal) as error:
        raise InvalidRequest(f"No text could be made for the regular expression: {error}") from error


class _Reader:
    """Makes pieces of what Python's parser returns."""

    def __init__(self, properties: list[Property]) -> None:
        self._properties = properties

    def read(self, parsed: Any, *, fold: bool) -> Piece:
        pieces = [*self._pieces(parsed, fold=fold)]
        return pieces[0] if len(pieces) == 1 else Run(pieces)

    def _pieces(self, parsed: Any, *, fold: bool) -> Iterator[Piece]:
        literal = ""
        for kind, value in parsed:
            if kind is sre.LITERAL and not fold and value < 0xD800:  # noqa: PLR2004 - surrogates and stand-ins
                literal += chr(value)
                continue
            if literal:
                yield Literal(literal)
                literal = ""
            yield self._piece(kind, value, fold=fold)
        if literal:
            yield Literal(literal)

    def _piece(self, kind: Any, value: Any, *, fold: bool) -> Piece:
        match kind:
            case sre.LITERAL | sre.NOT_LITERAL | sre.ANY | sre.IN:
                return Characters(_items(kind, value), self._properties, fold)
            case sre.BRANCH:
                return Choice([self.read(branch, fold=fold) for branch in value[1]])
            case sre.SUBPATTERN:
                group, added, removed, inner = value
                fold = (fold or bool(added & re.IGNORECASE)) and not removed & re.IGNORECASE
                return Group(group, self.read(inner, fold=fold))
            case sre.MAX_REPEAT | sre.MIN_REPEAT:
                low, high, inner = value
                return Repeat(self.read(inner, fold=fold), low, high)
            case sre.GROUPREF | sre.AT:
                return Again(value) if kind is sre.GROUPREF else Edge(_EDGES[value])
        raise Refusal(f"the regular expression has {_UNSUPPORTED.get(kind, kind)}, which is not supported")


def _items(kind: Any, value: Any) -> Any:
    """Write what stands for one character as a class."""
    match kind:
        case sre.NOT_LITERAL:
            return [(sre.NEGATE, None), (sre.LITERAL, value)]
        case sre.ANY:
            return [(sre.NEGATE, None), (sre.LITERAL, ord("\n"))]
        case sre.LITERAL:
            return [(sre.LITERAL, value)]
    return value
