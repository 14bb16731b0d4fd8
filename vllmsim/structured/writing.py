# -*- test-case-name: tests.structured.test_patterns -*-
"""A text as the pieces of a regular expression write it."""

import random
from typing import Final

from attrs import define, field

from vllmsim.structured.values import Budget, DeadEnd

_CALM: Final = 150
"""After how many pieces repetitions keep to the least."""


@define
class Writing:
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
