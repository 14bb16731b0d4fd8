# -*- test-case-name: tests.kvcache.test_eviction -*-
"""In which order free blocks that hold something are given to others.

Blocks of adapters that are served no more go first, then all others; among each it is the one that was used least
recently. An adapter is a name and a path: when these are served again, what they have left is like all else, from the
next sequence on that stores blocks for them.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from itertools import count
from typing import TypeAlias

from attrs import define, field

from vllmsim.inference import Adapter

_Key: TypeAlias = tuple[str, str]


@define(eq=False)
class _Belongings:
    """The blocks of one adapter that hold something.

    :param key: its name and path.
    :param served: whether the adapter is served.
    :param blocks: how many blocks there are.
    :param free: those that no sequence has, the least recently used first, and when they became free.
    :param queued: whether it is in the heap of those that go first.
    """

    key: _Key
    served: bool
    blocks: int = 0
    free: OrderedDict[int, int] = field(factory=OrderedDict)
    queued: bool = False


@define(eq=False)
class EvictionOrder:
    """Keeps the free blocks that hold something, and whose they are.

    Everything takes the same time for each block, however many there are.

    :param serves: whether an adapter is served.
    """

    _serves: Callable[[Adapter], bool] = lambda _: True
    _free: OrderedDict[int, None] = field(init=False, factory=OrderedDict)
    _owners: dict[int, _Belongings] = field(init=False, factory=dict)
    _adapters: dict[_Key, _Belongings] = field(init=False, factory=dict)
    _unserved: list[tuple[int, _Belongings]] = field(init=False, factory=list)
    """A heap of those whose adapters are served no more. The moment is that of the oldest block, or was once."""
    _moments: "count[int]" = field(init=False, factory=count)

    def __len__(self) -> int:
        return len(self._free)

    def own(self, blocks: Iterable[int], adapter: Adapter) -> None:
        """Learn that blocks of a sequence hold what belongs to an adapter; those of the base model belong to nobody."""
        key = adapter.name, adapter.path
        belongings = self._adapters.get(key)
        if belongings is None:
            belongings = self._adapters[key] = _Belongings(key, self._serves(adapter))
        elif not belongings.served:
            belongings.served = self._serves(adapter)
        for block in blocks:
            self._owners[block] = belongings
            belongings.blocks += 1

    def forget(self, adapter: Adapter) -> None:
        """Learn that an adapter is served no more."""
        belongings = self._adapters.get((adapter.name, adapter.path))
        if belongings is not None:
            belongings.served = False
            self._queue(belongings)

    def add(self, blocks: Iterable[int]) -> None:
        """Learn that no sequence has some blocks any more, of which the first goes first."""
        free = self._free
        if not self._owners:
            for block in blocks:
                free[block] = None
            return
        owners, moments = self._owners, self._moments
        for block in blocks:
            free[block] = None
            if (belongings := owners.get(block)) is not None:
                belongings.free[block] = next(moments)
                if not belongings.served:
                    self._queue(belongings)

    def discard(self, blocks: Iterable[int]) -> None:
        """Learn that sequences use some blocks again for what they hold."""
        free, owners = self._free, self._owners
        for block in blocks:
            del free[block]
            if owners and (belongings := owners.get(block)) is not None:
                del belongings.free[block]

    def pop(self, count: int) -> list[int]:
        """Take the blocks that go first; from now on they hold nothing. There must be so many."""
        if not self._owners:
            pop = self._free.popitem
            return [pop(last=False)[0] for _ in range(count)]
        return [self._pop_one() for _ in range(count)]

    def clear(self) -> list[int]:
        """Learn that no block holds anything any more.

        :return: those that are free.
        """
        blocks = list(self._free)
        for each in (self._free, self._owners, self._adapters, self._unserved):
            each.clear()
        return blocks

    def _pop_one(self) -> int:
        block = self._pop_unserved()
        if block is None:
            block, _ = self._free.popitem(last=False)
        else:
            del self._free[block]
        self._disown(block)
        return block

    def _pop_unserved(self) -> int | None:
        while self._unserved:
            moment, belongings = heappop(self._unserved)
            belongings.queued = False
            if belongings.served or not belongings.free:
                continue
            block, since = next(iter(belongings.free.items()))
            if since == moment:
                return block
            # Its oldest block was used in the meantime, or given to others while the adapter was served again.
            self._queue(belongings)
        return None

    def _disown(self, block: int) -> None:
        belongings = self._owners.pop(block, None)
        if belongings is None:
            return
        belongings.blocks -= 1
        del belongings.free[block]
        if not belongings.blocks:
            del self._adapters[belongings.key]
        elif not belongings.served:
            self._queue(belongings)

    def _queue(self, belongings: _Belongings) -> None:
        if belongings.free and not belongings.queued:
            belongings.queued = True
            heappush(self._unserved, (next(iter(belongings.free.values())), belongings))
