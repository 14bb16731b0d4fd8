# -*- test-case-name: tests.scheduling.test_waiting -*-
"""Sequences that wait for a slot, and which of them is the next.

Whoever uses the base model may run whenever a slot is free. Whoever uses a LoRA adapter needs it on the GPU, where few
have room at the same time. The next is the first who may run, but those whose adapter is there already, or who need
none, come before those whose adapter would have to be loaded.

So that nobody waits for ever, the first of those whose adapter is not there is overtaken only so many times. Then its
turn has come: of those behind it nobody starts who would keep an adapter in use, until one can give way; and when one
can, nobody comes before it.

Who is first is said by a rank: with `scheduling-policy: priority` the request's priority and then the order of coming,
otherwise the order of coming alone. Among those who may run, one of a better priority is never behind for the sake of
an adapter.

The sequences of an adapter stand in a line, so that a thousand who cannot run cost no more than one.
"""

from collections.abc import Callable
from itertools import count
from typing import Final

from attrs import define, field

from vllmsim.errors import QueueFull
from vllmsim.inference import Adapter
from vllmsim.interfaces import IAdapterSlots
from vllmsim.scheduling.limits import RankLimits
from vllmsim.scheduling.ranking import Rank, Ranking
from vllmsim.scheduling.sequence import Sequence

FEWEST_OVERTAKEN: Final = 32
"""How many times the first of those whose adapter is not there may be overtaken at least.

It is the number of slots where these are more: an adapter that comes to the GPU should fill all of them before it goes,
or most slots would be empty most of the time. With a handful of slots that would be too few: each time an adapter gives
way, all sequences that use one must come to their end.
"""


@define(eq=False)
class Line:
    """Those who wait for one adapter, or for none.

    :param adapter: None for the base model.
    """

    adapter: Adapter | None
    sequences: Ranking[Sequence] = field(init=False, factory=Ranking)
    overtaken: int = field(init=False, default=0)
    """How many started, since the adapter has left the GPU, from behind its first while that was the first of all whose
    adapter is not there."""


@define(eq=False)
class WaitingQueue:
    """Holds sequences until they may run, and gives the adapters' slots to those that do.

    :param limits: tells how many may wait, and how many run.
    :param by_priority: whether priorities count.
    :param patience: how many times at least the first of those whose adapter is not there may be overtaken.
    """

    _limits: Callable[[], RankLimits]
    adapters: IAdapterSlots
    _by_priority: bool = False
    _patience: int = FEWEST_OVERTAKEN
    _order: "count[int]" = field(init=False, factory=count)
    _base: Line = field(init=False, factory=lambda: Line(None))
    _lines: dict[int, Line] = field(init=False, factory=dict)
    """The lines of adapters, none of them empty, by the adapter's number."""
    _ready: Ranking[Line] = field(init=False, factory=Ranking)
    """Those whose adapter is there, by the rank of their first."""
    _away: Ranking[Line] = field(init=False, factory=Ranking)
    """Those whose adapter is not."""
    count: int = field(init=False, default=0)
    """How many wait."""
    _count_away: int = field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        self.adapters.watch(self._evicted)

    def __len__(self) -> int:
        return self.count

    @property
    def deferred(self) -> int:
        """How many wait since their adapter cannot be loaded now, whether a slot for sequences is free or not."""
        return 0 if self.adapters.loadable() else self._count_away

    def require_room(self, count: int, adapter: Adapter | None, running: int) -> None:
        """Make sure that so many sequences may be put here.

        :param adapter: what they use.
        :param running: how many are in slots.
        :raises QueueFull: when one of them would have to wait beyond the bound.
        """
        waiting, limits = self.count + count, self._limits()
        if waiting > limits.waiting and self._may_start(adapter):
            deferred = self.deferred
            waiting = deferred + max(0, waiting - deferred - max(0, limits.running - running))
        if waiting > limits.waiting:
            raise QueueFull("Failed to enqueue request, waiting requests queue is full")

    def admit(self, sequence: Sequence) -> bool:
        """Let a sequence start that has just come, if nobody comes before it.

        :return: whether it may; then it has its adapter, and does not wait.
        """
        adapter = sequence.adapter
        if self.count:
            if not self._may_start(adapter) or self.runnable():
                return False
            self._overtake(self._rank(sequence))
        elif adapter is not None and not self._may_start(adapter):
            return False
        if adapter is not None:
            sequence.ready = self.adapters.occupy(adapter)
        return True

    def put(self, sequence: Sequence) -> None:
        """Have a sequence wait."""
        adapter = sequence.adapter
        line = self._base
        if adapter is not None:
            line = self._lines.get(adapter.number) or self._lines.setdefault(adapter.number, Line(adapter))
        line.sequences.add(sequence, self._rank(sequence))
        self._changed(line, 1)

    def runnable(self) -> bool:
        """Tell whether a sequence that waits may run, if a slot is free."""
        # Where no adapter is asked for, all may.
        return self.count > 0 and (not self._lines or self._next() is not None)

    def take(self) -> Sequence | None:
        """Take the next sequence that may run, and give it its adapter; None if none may."""
        line = self._next()
        first = None if line is None else line.sequences.first()
        if line is None or first is None:
            return None
        rank, sequence = first
        self._leave(line, sequence)
        self._overtake(rank)
        if line.adapter is not None:
            sequence.ready = self.adapters.occupy(line.adapter)
            self._arrived(line)
        return sequence

    def release(self, sequence: Sequence) -> None:
        """Learn that a sequence which was let go runs no more."""
        if sequence.adapter is not None:
            self.adapters.release(sequence.adapter)
            self.settle(sequence.adapter)

    def discard(self, sequence: Sequence) -> bool:
        """Remove a sequence.

        :return: whether it was waiting.
        """
        adapter = sequence.adapter
        line = self._base if adapter is None else self._lines.get(adapter.number)
        if line is None or sequence not in line.sequences:
            return False
        self._leave(line, sequence)
        if adapter is not None:
            self.settle(adapter)
        return True

    def settle(self, adapter: Adapter) -> None:
        """Have an adapter that is unloaded give its place back, unless somebody waits for it."""
        if adapter.number not in self._lines:
            self.adapters.settle(adapter)

    def _rank(self, sequence: Sequence) -> Rank:
        return (sequence.submission.request.priority if self._by_priority else 0), next(self._order)

    def _may_start(self, adapter: Adapter | None) -> bool:
        """Tell whether one who comes now may run, if a slot is free and nobody waits who may."""
        if adapter is None:
            return True
        if not self.adapters.holds(adapter):
            return self.adapters.loadable()
        first = self._away.first()
        return first is None or not self._is_due(first[1])

    def _is_due(self, line: Line) -> bool:
        return line.overtaken >= max(self._patience, self._limits().running)

    def _next(self) -> Line | None:
        """Find the line whose first may run before all others."""
        base = self._base.sequences.first()
        if not self._lines:
            return None if base is None else self._base
        ready, away = self._ready.first(), self._away.first()
        if base is not None and (ready is None or base[0] < ready[0]):
            ready = base[0], self._base
        if away is None:
            return ready and ready[1]
        due = self._is_due(away[1])
        if self.adapters.loadable():
            # One of a better priority comes first in any case, one of the same when it needs no loading.
            return away[1] if due or ready is None or away[0][0] < ready[0][0] else ready[1]
        if not due or ready is None or ready[0] < away[0]:
            return ready and ready[1]
        return None if base is None else self._base

    def _overtake(self, rank: Rank) -> None:
        """Remember that a sequence starts: whom it overtakes."""
        if not self._lines:
            return
        away = self._away.first()
        if away is not None and away[0] < rank:
            away[1].overtaken += 1

    def _leave(self, line: Line, sequence: Sequence) -> None:
        line.sequences.discard(sequence)
        self._changed(line, -1)

    def _changed(self, line: Line, more: int) -> None:
        """Put a line where it belongs, after one has come to it or left it."""
        self.count += more
        adapter = line.adapter
        if adapter is None:
            return
        place = self._ready
        if not self.adapters.holds(adapter):
            place = self._away
            self._count_away += more
        first = line.sequences.first()
        if first is not None:
            place.add(line, first[0])
            return
        place.discard(line)
        del self._lines[adapter.number]

    def _arrived(self, line: Line) -> None:
        """Move a line whose adapter is there now."""
        line.overtaken = 0
        if self._away.discard(line):
            self._move(line, -1, self._ready)

    def _evicted(self, adapter: Adapter) -> None:
        """Move the line of an adapter that has lost its slot."""
        line = self._lines.get(adapter.number)
        if line is not None and self._ready.discard(line):
            self._move(line, 1, self._away)

    def _move(self, line: Line, sign: int, place: Ranking[Line]) -> None:
        self._count_away += sign * len(line.sequences)
        first = line.sequences.first()
        if first is not None:
            place.add(line, first[0])
