# -*- test-case-name: tests.scheduling.test_ranking -*-
"""Things in an order, from which any may leave: a heap that forgets who has left when it comes across them."""

import heapq
from typing import Final, Generic, TypeAlias, TypeVar

from attrs import define, field

T = TypeVar("T")

Rank: TypeAlias = tuple[int, int]
"""Where something stands: the lowest is first. No two things have the same."""

_FORGOTTEN: Final = 64
"""So many who have left may be in the heap in any case."""


@define(eq=False)
class Ranking(Generic[T]):
    """Things by their rank. To add and to take one away takes a time that grows with the logarithm of their number."""

    _ranks: dict[T, Rank] = field(init=False, factory=dict)
    _heap: list[tuple[Rank, T]] = field(init=False, factory=list)

    def __len__(self) -> int:
        return len(self._ranks)

    def __contains__(self, thing: T) -> bool:
        return thing in self._ranks

    def add(self, thing: T, rank: Rank) -> None:
        """Add a thing, or give it another rank."""
        if self._ranks.get(thing) == rank:
            return
        self._ranks[thing] = rank
        heapq.heappush(self._heap, (rank, thing))
        if len(self._heap) > 2 * len(self._ranks) + _FORGOTTEN:
            self._heap = [(rank, thing) for thing, rank in self._ranks.items()]
            heapq.heapify(self._heap)

    def discard(self, thing: T) -> bool:
        """Take a thing away.

        :return: whether it was there.
        """
        return self._ranks.pop(thing, None) is not None

    def first(self) -> tuple[Rank, T] | None:
        """Find the first, with its rank; None if there is nothing."""
        heap, ranks = self._heap, self._ranks
        while heap and ranks.get(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0] if heap else None
