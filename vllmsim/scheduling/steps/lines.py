# -*- test-case-name: tests.scheduling.steps.test_lines -*-
"""In what order those wait for the engine who could run.

Those who were preempted come before all others, the last first; with priorities everyone stands where its priority and
its coming put it, preempted or not. Who cannot run, since too many adapters are in use, is passed over and keeps its
place. Those of one adapter stand in one line, so that a thousand of them are passed over at once.
"""

from collections.abc import Container
from itertools import count

from attrs import define, field

from vllmsim.scheduling.ranking import Rank, Ranking
from vllmsim.scheduling.steps.computation import Computation


@define(eq=False)
class Lines:
    """Computations that wait and could run.

    :param by_priority: whether priorities count.
    """

    _by_priority: bool = False
    _lines: dict[int | None, Ranking[Computation]] = field(init=False, factory=dict)
    """By the number of the adapter; None for the base model. None of them is empty."""
    _front: "count[int]" = field(init=False, factory=lambda: count(0, -1))

    def __len__(self) -> int:
        return sum([len(line) for line in self._lines.values()])

    def add(self, computation: Computation) -> None:
        """Have one wait that has come."""
        self._put(computation, (computation.priority if self._by_priority else 0, computation.order))

    def put_back(self, computation: Computation) -> None:
        """Have one wait again that was let in."""
        if self._by_priority:
            self.add(computation)
        else:
            self._put(computation, (0, next(self._front)))

    def discard(self, computation: Computation) -> bool:
        """Take one away.

        :return: whether it was there.
        """
        number = _line_of(computation)
        line = self._lines.get(number)
        if line is None or not line.discard(computation):
            return False
        if not line:
            del self._lines[number]
        return True

    def first(self, adapters: Container[int], more: bool) -> Computation | None:
        """Find the first that may run.

        :param adapters: the numbers of those that are in use.
        :param more: whether another may be.
        :return: None if none may.
        """
        best: tuple[Rank, Computation] | None = None
        for number, line in self._lines.items():
            if more or number is None or number in adapters:
                first = line.first()
                if first is not None and (best is None or first[0] < best[0]):
                    best = first
        return None if best is None else best[1]

    def count_barred(self, adapters: Container[int]) -> int:
        """Count those that need an adapter which is not in use.

        :param adapters: the numbers of those that are.
        """
        return sum([len(line) for number, line in self._lines.items() if number is not None and number not in adapters])

    def _put(self, computation: Computation, rank: Rank) -> None:
        number = _line_of(computation)
        line = self._lines.get(number)
        if line is None:
            line = self._lines[number] = Ranking()
        line.add(computation, rank)


def _line_of(computation: Computation) -> int | None:
    return None if computation.adapter is None else computation.adapter.number
