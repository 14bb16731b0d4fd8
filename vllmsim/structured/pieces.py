# -*- test-case-name: tests.structured.test_patterns -*-
"""The pieces of a regular expression, each of which can write a text that it matches.

A piece is asked for a text between two lengths. It stops before the greater and goes on to the lesser where it can;
whether the whole came out right is seen at the end.
"""

import string
from collections.abc import Sequence
from typing import Final

from vllmsim.structured.classes import Items, characters, weight
from vllmsim.structured.ecma import Property
from vllmsim.structured.values import DeadEnd
from vllmsim.structured.writing import Writing

UNBOUNDED: Final = 1 << 32
"""Longer than any text. Python's parser says as much, or more, of a repetition without end."""
_MORE: Final = 7
"""How many times more than it must a repetition comes, at most, where the length is open."""
_PER_STEP: Final = 16
"""How many characters a step writes."""
_FILLED: Final = (0, 0, 0, 1, 4)
_FILLING: Final = string.ascii_letters + string.digits
_STALLED: Final = 8
"""How often a repetition may write nothing before it gives up."""


class Piece:
    """A part of a pattern.

    :ivar least: length of its shortest text, in characters.
    :ivar most: length of its longest.
    :ivar weight: how long a linear-time matcher takes to compile it, in microseconds.
    """

    least: int
    most: int
    weight: int

    def write(self, writing: Writing, least: int, most: int) -> None:
        """Write a text that matches.

        :raises DeadEnd: when this draw leads nowhere.
        """
        raise NotImplementedError


class Literal(Piece):
    """A text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.least = self.most = self.weight = len(text)

    def write(self, writing: Writing, least: int, most: int) -> None:
        """Write it."""
        writing.spend()
        writing.write(self._text)


class Characters(Piece):
    """A character of a class."""

    least = most = 1

    def __init__(self, items: Items, properties: Sequence[Property], fold: bool) -> None:
        self._items, self._properties, self._fold = items, properties, fold
        self._found: tuple[Sequence[str], int] | None = None
        self.weight = weight(items)

    def write(self, writing: Writing, least: int, most: int) -> None:
        """Write one."""
        self.write_run(writing, 1)

    def write_run(self, writing: Writing, count: int) -> None:
        """Write several."""
        writing.spend()
        writing.budget.spend(count // _PER_STEP)
        if self._found is None:
            self._found = characters(self._items, self._properties, fold=self._fold)
        choices, steps = self._found
        writing.budget.spend_once(self, steps)
        if not choices:
            raise DeadEnd("a class of the pattern has no characters")
        writing.write("".join(writing.generator.choices(choices, k=count)))


class Run(Piece):
    """Pieces one after the other."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = pieces
        self.least = sum(piece.least for piece in pieces)
        self.most = sum(piece.most for piece in pieces)
        self.weight = sum(piece.weight for piece in pieces)

    def write(self, writing: Writing, least: int, most: int) -> None:
        """Write them; what the later ones need is kept for them."""
        writing.spend()
        rest_least, rest_most, start = self.least, self.most, writing.length
        for piece in self._pieces:
            rest_least -= piece.least
            rest_most -= piece.most
            done = writing.length - start
            piece.write(writing, least - done - rest_most, most - done - rest_least)


class Choice(Piece):
    """One of several pieces."""

    def __init__(self, branches: Sequence[Piece]) -> None:
        self._branches = branches
        self.least = min(branch.least for branch in branches)
        self.most = max(branch.most for branch in branches)
        self.weight = sum(branch.weight for branch in branches)

    def write(self, writing: Writing, least: int, most: int) -> None:
        """Write one of those that fit."""
        writing.spend()
        short = [branch for branch in self._branches if branch.least <= most]
        fitting = [branch for branch in short if branch.most >= least] or short
        if not fitting:
            raise DeadEnd("the pattern matches no text as short as is asked for")
        writing.generator.choice(fitting).write(writing, least, most)


class Group(Piece):
    """A piece whose text may be asked for again.

    :param number: None for a group that only groups.
    """

    def __init__(self, number: int | None, piece: Piece) -> None:
        self._number, self._piece = number, piece
        self.least, self.most, self.weight = piece.least, piece.most, piece.weight

    def write(self, writing: Writing, least: int, most: int) -> None:
        """Write it, and remember what was written."""
        writing.spend()
        start = writing.length
        self._piece.write(writing, least, most)
        if self._number is not None:
            writing.groups[self._number] = writing.since(start)


class Again(Piece):
    """What a group wrote."""

    least, most, weight = 0, UNBOUNDED, 1

    def __init__(self, number: int) -> None:
        self._number = number

    def write(self, writing: Writing, least: int, most: int) -> None:
        """Write it again."""
        writing.spend()
        if self._number not in writing.groups:
            raise DeadEnd("the pattern asks for a group that has no text")
        writing.write(writing.groups[self._number])


class Edge(Piece):
    """A place where the text or a word begins or ends.

    :param kind: ``begin`` and ``end`` of the text, ``boundary`` of a word, or ``within`` one or none.
    """

    least = most = 0
    weight = 1

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def write(self, writing: Writing, least: int, most: int) -> None:
        """Demand it."""
        writing.spend()
        writing.edge(self._kind)


class Repeat(Piece):
    """A piece several times.

    :param low: how often at least.
    :param high: how often at most.
    """

    def __init__(self, piece: Piece, low: int, high: int) -> None:
        self._piece, self._low, self._high = piece, low, high
        self.least, self.most = piece.least * low, piece.most * high
        self.weight = piece.weight * max(1, low + 1 if high >= UNBOUNDED - 1 else high)

    def write(self, writing: Writing, least: int, most: int) -> None:
        """Write it as often as the lengths want, or a few times more than it must be."""
        writing.spend()
        piece, low, high = self._piece, self._low, self._high
        wanted = low if writing.calm else min(high, low + writing.generator.randint(0, _MORE))
        if isinstance(piece, Characters):
            count = min(max(low, min(wanted, most), least), high)
            if count:
                piece.write_run(writing, count)
            return
        start, count, stalled = writing.length, 0, 0
        while count < low or ((count < wanted or writing.length - start < least) and count < high):
            done = writing.length - start
            kept = max(0, low - count - 1) * piece.least
            if count >= low and (done + piece.least > most or stalled > _STALLED):
                break
            piece.write(writing, least - done - (high - count - 1) * piece.most, most - done - kept)
            count += 1
            stalled += writing.length - start == done


class Filler(Piece):
    """Any text, where what is asked for need not be the whole of it: as short as it may be, or a little longer."""

    least, most, weight = 0, UNBOUNDED, 0

    def write(self, writing: Writing, least: int, most: int) -> None:
        """Write it."""
        writing.spend()
        length = min(most, max(0, least) + writing.generator.choice(_FILLED))
        writing.budget.spend(max(0, length) // _PER_STEP)
        writing.write("".join(writing.generator.choices(_FILLING, k=max(0, length))))
