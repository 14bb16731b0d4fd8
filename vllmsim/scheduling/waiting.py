# -*- test-case-name: tests.scheduling.test_waiting -*-
"""Sequences that wait for a slot, first come first served."""

from collections import OrderedDict, deque

from attrs import define, field
from twisted.internet.defer import Deferred, succeed

from vllmsim.errors import QueueFull
from vllmsim.scheduling.sequence import Sequence


@define(eq=False)
class WaitingQueue:
    """Holds sequences in their order of coming.

    :param bound: the most that may wait beyond those for whom a slot is free.
    """

    _bound: int
    _sequences: OrderedDict[Sequence, None] = field(init=False, factory=OrderedDict)
    _takers: deque[Deferred[Sequence]] = field(init=False, factory=deque)

    def __len__(self) -> int:
        return len(self._sequences)

    def require_room(self, count: int, free_slots: int) -> None:
        """Make sure that so many sequences may be put here.

        :param free_slots: how many can start at once.
        :raises QueueFull: when one of them would have to wait beyond the bound.
        """
        if len(self._sequences) + count - free_slots > self._bound:
            raise QueueFull("The waiting queue is full; try again later.")

    def put(self, sequence: Sequence) -> None:
        """Add a sequence at the end."""
        if self._takers:
            self._takers.popleft().callback(sequence)
        else:
            self._sequences[sequence] = None

    def take(self) -> Deferred[Sequence]:
        """Take the sequence that has waited longest.

        :return: fires with it, at once if there is one. Cancelling gives the turn up.
        """
        if self._sequences:
            return succeed(self._sequences.popitem(last=False)[0])
        taker: Deferred[Sequence] = Deferred(self._takers.remove)
        self._takers.append(taker)
        return taker

    def discard(self, sequence: Sequence) -> bool:
        """Remove a sequence.

        :return: whether it was waiting.
        """
        if sequence not in self._sequences:
            return False
        del self._sequences[sequence]
        return True
