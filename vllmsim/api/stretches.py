# -*- test-case-name: tests.api.test_stretches -*-
"""Runs of tokens, cut where an answer goes from one part to the next."""

from bisect import bisect_right
from collections.abc import Iterator
from operator import attrgetter

from attrs import frozen

from vllmsim.inference import Answer, Part


@frozen
class Stretch:
    """Tokens of one part that come at the same time.

    :param number: the part's place in the answer.
    :param part: the part; for an answer without parts, all of it.
    :param start: the first of the tokens.
    :param stop: the token after the last.
    """

    number: int
    part: Part
    start: int
    stop: int

    @property
    def opens(self) -> bool:
        """Whether clients learn of the part now."""
        return self.start <= self.part.opens < self.stop

    @property
    def closes(self) -> bool:
        """Whether this is the part's end."""
        return self.stop == self.part.stop

    @property
    def body(self) -> range:
        """The tokens among these that say something to clients."""
        return range(max(self.start, self.part.first), min(self.stop, self.part.last))


def stretches(answer: Answer, start: int, stop: int) -> Iterator[Stretch]:
    """Cut the tokens from `start` to `stop`; an ending token behind the last part belongs to none."""
    length = len(answer)
    if not answer.parts:
        if start < stop:
            yield Stretch(0, Part("text", 0, 0, 0, length, length), start, stop)
        return
    number = bisect_right(answer.parts, start, key=attrgetter("stop"))
    while start < stop and number < len(answer.parts):
        part = answer.parts[number]
        yield Stretch(number, part, start, min(stop, part.stop))
        start = part.stop
        number += 1
