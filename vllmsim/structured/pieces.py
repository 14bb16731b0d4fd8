# -*- test-case-name: tests.structured.test_patterns -*-
"""The pieces of a regular expression, each of which can write a text that it matches.

A piece is asked for a text between two lengths. It keeps the longer one where it can, and goes on to the shorter one
where it can; whether the whole came out right is seen at the end.
"""

import random
import string
from collections.abc import Sequence
from typing import Final

from attrs import define, field

from vllmsim.structured.classes import Items, characters, weight
from vllmsim.structured.ecma import Property
from vllmsim.structured.values import Budget, DeadEnd

UNBOUNDED: Final = 1 << 32
"""Longer than any text. Python's parser says as much, or more, of a repetition without end."""
_MORE: Final = 7
"""How many times more than it must a repetition comes, at most, where the length is open."""
_CALM: Final = 150
"""After how many pieces repetitions keep to the least."""
_PER_STEP: Final = 16
"""How many characters a step writes."""
_FILLED: Final = (0, 0, 0, 1, 4)
_FILLING: Final = string.ascii_letters + string.digits
_STALLED: Final = 8
"""How often a repetition may write nothing before it gives up."""


@define
class Draft:
    """One text as it is being written."""

    generator: random.Random
    budget: Budget
    length: int = 0
    groups: dict[int, str] = field(factory=dict)
    _pieces: int = 0
    _text: list[str] = field(factory=list)
    _ended: bool = False
    _boundaries: list[tuple[int, bool]] = field(factory=list)

    @property
    def calm(self) -> bool:
        """Whether enough has been written."""
        return self._pieces > _CALM

    def spend(self) -> None:
        """Count a piece.

        :raises vllmsim.structured.values.Refusal: when there have been too many.
        """
        self._pieces += 1
        self.budget.spend()

    def write(self, text: str) -> None:
        """Add to the text.

        :raises DeadEnd: when it has ended.
        """
        if text and self._ended:
            raise DeadEnd("the pattern goes on after the end of the text")
        self._text.append(text)
        self.length += len(text)

    def since(self, start: int) -> str:
        """Read what has been written from a place on."""
        text = "".join(self._text)
        self._text = [text]
        return text[start:]

    def edge(self, kind: str) -> None:
        """Demand that the text begins or ends here, or a word does, or does not.

        :raises DeadEnd: when it cannot be.
        """
        if kind == "end":
            self._ended = True
        elif kind != "begin":
            self._boundaries.append((self.length, kind == "boundary"))
        elif self.length:
            raise DeadEnd("the pattern begins in the middle of the text")

    def finished(self) -> str:
        """Read the whole text.

        :raises DeadEnd: when a word does not begin or end where it must.
        """
        text = "".join(self._text)
        for place, wanted in self._boundaries:
            around = text[max(0, place - 1) : place], text[place : place + 1]
            # Not all dialects take é for a letter, nor the empty text for one without a boundary.
            for in_word in (_is_ascii_word, _is_word):
                if not text or (in_word(around[0]) != in_word(around[1])) is not wanted:
                    raise DeadEnd("no word begins or ends where the pattern wants it")
        return text


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _is_ascii_word(character: str) -> bool:
    return character.isascii() and _is_word(character)


class Piece:
    """A part of a pattern.

    :ivar least: length of its shortest text, in characters.
    :ivar most: length of its longest.
    :ivar weight: how long a linear-time matcher takes to compile it, in microseconds.
    """

    least: int
    most: int
    weight: int

    def write(self, draft: Draft, least: int, most: int) -> None:
        """Write a text that matches.

        :raises DeadEnd: when this draw leads nowhere.
        """
        raise NotImplementedError


class Literal(Piece):
    """A text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.least = self.most = self.weight = len(text)

    def write(self, draft: Draft, least: int, most: int) -> None:
        """Write it."""
        draft.spend()
        draft.write(self._text)


class Characters(Piece):
    """A character of a class."""

    least = most = 1

    def __init__(self, items: Items, properties: Sequence[Property], fold: bool) -> None:
        self._items, self._properties, self._fold = items, properties, fold
        self._choices: Sequence[str] | None = None
        self.weight = weight(items)

    def write(self, draft: Draft, least: int, most: int) -> None:
        """Write one."""
        self.write_run(draft, 1)

    def write_run(self, draft: Draft, count: int) -> None:
        """Write several."""
        draft.spend()
        draft.budget.spend(count // _PER_STEP)
        if self._choices is None:
            self._choices = characters(self._items, self._properties, draft.budget, fold=self._fold)
        if not self._choices:
            raise DeadEnd("a class of the pattern has no characters")
        draft.write("".join(draft.generator.choices(self._choices, k=count)))


class Run(Piece):
    """Pieces one after the other."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = pieces
        self.least = sum(piece.least for piece in pieces)
        self.most = sum(piece.most for piece in pieces)
        self.weight = sum(piece.weight for piece in pieces)

    def write(self, draft: Draft, least: int, most: int) -> None:
        """Write them; what the later ones need is kept for them."""
        draft.spend()
        rest_least, rest_most, start = self.least, self.most, draft.length
        for piece in self._pieces:
            rest_least -= piece.least
            rest_most -= piece.most
            done = draft.length - start
            piece.write(draft, least - done - rest_most, most - done - rest_least)


class Choice(Piece):
    """One of several pieces."""

    def __init__(self, branches: Sequence[Piece]) -> None:
        self._branches = branches
        self.least = min(branch.least for branch in branches)
        self.most = max(branch.most for branch in branches)
        self.weight = sum(branch.weight for branch in branches)

    def write(self, draft: Draft, least: int, most: int) -> None:
        """Write one of those that fit."""
        draft.spend()
        short = [branch for branch in self._branches if branch.least <= most]
        fitting = [branch for branch in short if branch.most >= least] or short
        if not fitting:
            raise DeadEnd("the pattern matches no text as short as is asked for")
        draft.generator.choice(fitting).write(draft, least, most)


class Group(Piece):
    """A piece whose text may be asked for again.

    :param number: None for a group that only groups.
    """

    def __init__(self, number: int | None, piece: Piece) -> None:
        self._number, self._piece = number, piece
        self.least, self.most, self.weight = piece.least, piece.most, piece.weight

    def write(self, draft: Draft, least: int, most: int) -> None:
        """Write it, and remember what was written."""
        draft.spend()
        start = draft.length
        self._piece.write(draft, least, most)
        if self._number is not None:
            draft.groups[self._number] = draft.since(start)


class Again(Piece):
    """What a group wrote."""

    least, most, weight = 0, UNBOUNDED, 1

    def __init__(self, number: int) -> None:
        self._number = number

    def write(self, draft: Draft, least: int, most: int) -> None:
        """Write it again."""
        draft.spend()
        if self._number not in draft.groups:
            raise DeadEnd("the pattern asks for a group that has no text")
        draft.write(draft.groups[self._number])


class Edge(Piece):
    """A place where the text or a word begins or ends.

    :param kind: ``begin`` and ``end`` of the text, ``boundary`` of a word, or ``within`` one or none.
    """

    least = most = 0
    weight = 1

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def write(self, draft: Draft, least: int, most: int) -> None:
        """Demand it."""
        draft.spend()
        draft.edge(self._kind)


class Repeat(Piece):
    """A piece several times.

    :param low: how often at least.
    :param high: how often at most.
    """

    def __init__(self, piece: Piece, low: int, high: int) -> None:
        self._piece, self._low, self._high = piece, low, high
        self.least, self.most = piece.least * low, piece.most * high
        self.weight = piece.weight * max(1, low + 1 if high >= UNBOUNDED - 1 else high)

    def write(self, draft: Draft, least: int, most: int) -> None:
        """Write it as often as the lengths want, or a few times more than it must be."""
        draft.spend()
        piece, low, high = self._piece, self._low, self._high
        wanted = low if draft.calm else min(high, low + draft.generator.randint(0, _MORE))
        if isinstance(piece, Characters):
            count = min(max(low, min(wanted, most), least), high)
            if count:
                piece.write_run(draft, count)
            return
        start, count, stalled = draft.length, 0, 0
        while count < low or ((count < wanted or draft.length - start < least) and count < high):
            done = draft.length - start
            kept = max(0, low - count - 1) * piece.least
            if count >= low and (done + piece.least > most or stalled > _STALLED):
                break
            piece.write(draft, least - done - (high - count - 1) * piece.most, most - done - kept)
            count += 1
            stalled += draft.length - start == done


class Filler(Piece):
    """Any text, where what is asked for need not be the whole of it: as short as it may be, or a little longer."""

    least, most, weight = 0, UNBOUNDED, 0

    def write(self, draft: Draft, least: int, most: int) -> None:
        """Write it."""
        draft.spend()
        length = min(most, max(0, least) + draft.generator.choice(_FILLED))
        draft.budget.spend(max(0, length) // _PER_STEP)
        draft.write("".join(draft.generator.choices(_FILLING, k=max(0, length))))
