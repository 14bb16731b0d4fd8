# -*- test-case-name: tests.kvcache.events.test_standing -*-
"""Which blocks there are behind a row of batches, for those who subscribe when their beginning is not kept any more."""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen

from vllmsim.blockevents import BlockEvent, BlockPicture
from vllmsim.inference import Adapter, StoredBlocks


@frozen(eq=False)
class _Block:
    parent: bytes | None
    ids: Sequence[int]
    keys: tuple[Any, ...] | None
    adapter: Adapter | None


@define(eq=False)
class StandingBlocks:
    """Remembers the blocks that were stored and neither removed nor cleared since.

    :param size: tokens per block.
    """

    _size: int
    _blocks: dict[bytes, _Block] = field(init=False, factory=dict)
    _copies: dict[bytes, int] = field(init=False, factory=dict)
    """How many blocks more have the same hash, where there are any."""

    def fold(self, events: Iterable[BlockEvent]) -> None:
        """Learn what happened next."""
        for event in events:
            if event is None:
                self._blocks.clear()
                self._copies.clear()
            elif isinstance(event, bytes):
                self._remove(event)
            else:
                self._store(event)

    def picture(self, sequence: int, unknown: int) -> BlockPicture:
        """Have all blocks told as they are now, whatever is learned later.

        :param sequence: the number of the last batch that was learned.
        :param unknown: how many of the first batches were not.
        """
        count = len(self._blocks) + sum(self._copies.values())
        return BlockPicture(sequence, count, unknown, _each({**self._blocks}, {**self._copies}))

    def _store(self, stored: StoredBlocks) -> None:
        size, parent = self._size, stored.parent
        for number, digest in enumerate(stored.hashes):
            if digest in self._blocks:
                self._copies[digest] = self._copies.get(digest, 0) + 1
            else:
                # An array takes a tenth of what a list takes.
                ids = array("I", stored.ids[number * size : (number + 1) * size])
                self._blocks[digest] = _Block(parent, ids, stored.keys[number], stored.adapter)
            parent = digest

    def _remove(self, digest: bytes) -> None:
        copies = self._copies.get(digest, 0)
        if copies > 1:
            self._copies[digest] = copies - 1
        elif copies:
            del self._copies[digest]
        else:
            # What was stored before anybody remembered is not here.
            self._blocks.pop(digest, None)


def _each(blocks: Mapping[bytes, _Block], copies: Mapping[bytes, int]) -> Iterator[StoredBlocks]:
    """Tell each block, as often as there are blocks with its hash."""
    for digest in _parents_first(blocks):
        block = blocks[digest]
        told = StoredBlocks((digest,), block.parent, block.ids, (block.keys,), block.adapter)
        for _ in range(1 + copies.get(digest, 0)):
            yield told


def _parents_first(blocks: Mapping[bytes, _Block]) -> Iterator[bytes]:
    # Mostly they are in this order already; but a parent may have gone and come back.
    done: set[bytes] = set()
    for each in blocks:
        digest: bytes | None = each
        line = []
        while digest is not None and digest in blocks and digest not in done:
            done.add(digest)
            line.append(digest)
            digest = blocks[digest].parent
        yield from reversed(line)
