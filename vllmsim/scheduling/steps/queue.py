# -*- test-case-name: tests.scheduling.steps.test_queue -*-
"""Everyone who waits for the engine, and who of them is next.

Three things keep one from being next without keeping others: its answer is not known, its tokens are being fetched, or
it needs an adapter while as many as possible are in use.
"""

from collections import Counter
from itertools import count

from attrs import define, field

from vllmsim.scheduling.steps.computation import Computation
from vllmsim.scheduling.steps.limits import StepLimits
from vllmsim.scheduling.steps.lines import Lines


@define(eq=False)
class StepQueue:
    """Holds computations until they are let in, and knows which adapters are in use by those that were.

    :param by_priority: whether priorities count.
    """

    _by_priority: bool = False
    _lines: Lines = field(init=False)
    _unready: dict[Computation, None] = field(init=False, factory=dict)
    """Those whose answer nobody knows."""
    _fetching: dict[Computation, bool] = field(init=False, factory=dict)
    """Those that have blocks and no tokens yet, in the order in which they got them, and whether the tokens are there
    by now."""
    _adapters: Counter[int] = field(init=False, factory=Counter)
    """How many of those that run use each adapter, by its number."""
    _orders: "count[int]" = field(init=False, factory=lambda: count(1))

    @_lines.default
    def _make_lines(self) -> Lines:
        return Lines(self._by_priority)

    def __len__(self) -> int:
        return len(self._lines) + len(self._unready) + len(self._fetching)

    @property
    def fetching(self) -> list[Computation]:
        """Those that have blocks, and whose tokens are fetched."""
        return [*self._fetching]

    def count_deferred(self, limits: StepLimits) -> int:
        """Count those that could not be let in if there were room."""
        barred = 0 if self._takes_adapters(limits) else self._lines.count_barred(self._adapters)
        return len(self._unready) + barred + [*self._fetching.values()].count(False)

    def add(self, computation: Computation) -> None:
        """Have one wait that has come."""
        computation.order = next(self._orders)
        if computation.answer is None:
            self._unready[computation] = None
        else:
            self._lines.add(computation)

    def put_back(self, computation: Computation) -> None:
        """Have one wait again that was preempted."""
        self._lines.put_back(computation)

    def ready(self, computation: Computation) -> None:
        """Learn that the answer of one is known now. Harmless when it does not wait for that."""
        if computation in self._unready:
            del self._unready[computation]
            self._lines.add(computation)

    def fetch(self, computation: Computation) -> None:
        """Learn that the tokens of one are fetched from now on."""
        self._lines.discard(computation)
        self._fetching[computation] = False

    def fetched(self, computation: Computation) -> None:
        """Learn that they are there. Harmless when none are fetched for it."""
        if computation in self._fetching:
            self._fetching[computation] = True

    def is_fetched(self, computation: Computation) -> bool:
        """Tell whether it has tokens that were fetched, and blocks for them."""
        return self._fetching.get(computation, False)

    def discard(self, computation: Computation) -> bool:
        """Take one away.

        :return: whether it was here.
        """
        for place in (self._fetching, self._unready):
            if computation in place:
                del place[computation]
                return True
        return self._lines.discard(computation)

    def first(self, limits: StepLimits, admitting: bool) -> Computation | None:
        """Find the next.

        :param admitting: whether it may be one that has no blocks.
        :return: None if there is nobody who could run.
        """
        for computation in self._find_fetched():
            # What was fetched can be found by others from now on.
            assert computation.blocks is not None
            computation.blocks.grow(computation.computed, computation.computed)
            if self._has_adapter(computation, limits):
                return computation
        return self._lines.first(self._adapters, self._takes_adapters(limits)) if admitting else None

    def enter(self, computation: Computation) -> None:
        """Learn that one runs now, and waits no more."""
        self.discard(computation)
        if computation.adapter is not None:
            self._adapters[computation.adapter.number] += 1

    def leave(self, computation: Computation) -> None:
        """Learn that one runs no more."""
        if computation.adapter is not None:
            number = computation.adapter.number
            self._adapters[number] -= 1
            if not self._adapters[number]:
                del self._adapters[number]

    def _find_fetched(self) -> list[Computation]:
        """Find those whose tokens are there, in the order in which it is their turn."""
        there = [each for each, there in self._fetching.items() if there]
        return sorted(there, key=lambda each: (each.priority, each.order)) if self._by_priority else there

    def _has_adapter(self, computation: Computation, limits: StepLimits) -> bool:
        """Tell whether what one needs is in use, or may be."""
        adapter = computation.adapter
        return adapter is None or adapter.number in self._adapters or self._takes_adapters(limits)

    def _takes_adapters(self, limits: StepLimits) -> bool:
        """Tell whether one more adapter may be in use."""
        return len(self._adapters) < limits.adapters
