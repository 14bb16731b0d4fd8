# -*- test-case-name: tests.kvcache.test_pool -*-
"""The KV blocks of a rank: who has them, and what they hold.

A block is a number from 1 on; number 0 is vLLM's null block, which nobody gets. Sequences that have the same prefix
share its blocks, so each block counts those who have it; one that nobody has is free. A full block goes by the hash of
its tokens and all before them, and keeps what it holds when it becomes free. So free blocks that hold nothing are given
away first, then the others as :class:`~vllmsim.kvcache.eviction.EvictionOrder` says. A sequence gives its blocks back
from the last to the first: of a prefix, the end goes first.

Two sequences that compute the same block at the same time have one each, under the same hash.

Whoever is let in is promised all the blocks that it will ever need, and takes them one by one; the others are free.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from attrs import define, field

from vllmsim.inference import Adapter, StoredBlocks
from vllmsim.interfaces import IBlockListener, ICacheMetrics
from vllmsim.kvcache.eviction import EvictionOrder
from vllmsim.kvcache.lives import BlockLives


@define(eq=False)
class BlockPool:
    """Hands blocks out and takes them back.

    Nothing is kept of blocks that were never used, so that a large pool costs nothing.

    :param usable: how many blocks there are, without the null block.
    :param listeners: hear what becomes of what blocks hold.
    :param lives: measures how long they hold it, if that is wanted.
    :param serves: whether an adapter is served.
    """

    usable: int
    _metrics: ICacheMetrics
    _listeners: Sequence[IBlockListener] = ()
    _lives: BlockLives | None = None
    _serves: Callable[[Adapter], bool] = lambda _: True
    _holders: list[int] = field(init=False, factory=lambda: [1])
    """By block, how many sequences have it; up to the last block that was ever used."""
    _digests: list[bytes | None] = field(init=False, factory=lambda: [None])
    """By block, the hash it goes by."""
    _blocks: dict[bytes, int] = field(init=False, factory=dict)
    """By hash, the block that has gone by it longest."""
    _copies: dict[bytes, OrderedDict[int, None]] = field(init=False, factory=dict)
    """By hash, further blocks that go by it."""
    _blank: list[int] = field(init=False, factory=list)
    """Free blocks that hold nothing; the last is taken first."""
    _order: EvictionOrder = field(init=False)
    _promised: int = field(init=False, default=0)
    aside: int = field(init=False, default=0)
    """How many blocks count as used that were never used, and are not to be."""
    cached: int = field(init=False, default=0)
    """How many blocks go by a hash."""

    @_order.default
    def _make_order(self) -> EvictionOrder:
        return EvictionOrder(self._serves)

    @property
    def free(self) -> int:
        """How many blocks no sequence has."""
        return self._unused + len(self._blank) + len(self._order)

    @property
    def _unused(self) -> int:
        """How many blocks were never used, and may be."""
        return self.usable - self.aside - len(self._holders) + 1

    @property
    def used(self) -> int:
        """How many blocks sequences have, or are set aside."""
        return self.usable - self.free

    @property
    def room(self) -> int:
        """How many blocks are free and not promised."""
        return self.free - self._promised

    def tell(self) -> None:
        """Tell the metrics how many blocks there are of each kind."""
        self._metrics.blocks_counted(self.used, self.cached, self.usable)

    def find(self, digests: Sequence[bytes], most: int) -> list[int]:
        """Look a prefix up.

        :param most: how many hashes to look up.
        :return: the blocks that go by the first of some hashes, up to one by which no block goes.
        """
        found: list[int] = []
        look, keep = self._blocks.get, found.append
        for digest in islice(digests, most):
            block = look(digest)
            if block is None:
                break
            keep(block)
        return found

    def count_free(self, blocks: Iterable[int]) -> int:
        """Tell how many of some blocks no sequence has."""
        return [*map(self._holders.__getitem__, blocks)].count(0)

    def digest(self, block: int) -> bytes | None:
        """Tell the hash that a block goes by."""
        return self._digests[block]

    def share(self, blocks: Sequence[int]) -> None:
        """Give blocks to a sequence for what they hold."""
        holders = self._holders
        self._order.discard([block for block in blocks if not holders[block]])
        for block in blocks:
            holders[block] += 1
        if self._lives is not None:
            self._lives.use(blocks)

    def promise(self, count: int) -> None:
        """Keep blocks for a sequence; there must be room for them."""
        self._promised += count

    def set_aside(self, count: int) -> None:
        """Keep blocks that were never used from being used; there must be room for them.

        :param count: how many, or as many as there are; if negative, how many may be used again.
        """
        self.aside += min(count, self._unused)

    def take(self, count: int) -> list[int]:
        """Give a sequence some of the blocks that it was promised.

        Whatever they hold is forgotten, and everyone told so.
        """
        blank, holders = self._blank, self._holders
        self._promised -= count
        taken = blank[: -count - 1 : -1] if count else []
        del blank[len(blank) - len(taken) :]
        for block in taken:
            holders[block] = 1
        new = min(count - len(taken), self._unused)
        if new:
            taken += range(len(holders), len(holders) + new)
            holders += [1] * new
            self._digests += [None] * new
        if len(taken) < count:
            taken += self._evict(count - len(taken))
        if self._lives is not None:
            self._lives.take(taken)
        return taken

    def store(self, blocks: Sequence[int], stored: StoredBlocks) -> None:
        """Learn that blocks of a sequence are full, and tell everyone."""
        digests, known = self._digests, self._blocks
        for block, digest in zip(blocks, stored.hashes, strict=True):
            digests[block] = digest
            if known.setdefault(digest, block) != block:
                self._copies.setdefault(digest, OrderedDict())[block] = None
        self.cached += len(blocks)
        if stored.adapter is not None:
            self._order.own(blocks, stored.adapter)
        for listener in self._listeners:
            listener.stored(stored)

    def release(self, blocks: Sequence[int], promised: int) -> None:
        """Take back all that a sequence has.

        :param blocks: in their order in the sequence.
        :param promised: how many more it was promised.
        """
        self._promised -= promised
        holders, digests = self._holders, self._digests
        full: list[int] = []
        blank: list[int] = []
        for block in reversed(blocks):
            left = holders[block] - 1
            holders[block] = left
            if not left:
                (blank if digests[block] is None else full).append(block)
        self._blank += reversed(blank)
        self._order.add(full)

    def clear(self) -> None:
        """Forget what all blocks hold, and tell everyone."""
        # Those that hold nothing already stay the first.
        self._blank[:0] = reversed(self._order.clear())
        self._digests = [None] * len(self._digests)
        self._blocks.clear()
        self._copies.clear()
        self.cached = 0
        if self._lives is not None:
            self._lives.clear()
        for listener in self._listeners:
            listener.cleared()

    def forget(self, adapter: Adapter) -> None:
        """Learn that an adapter is served no more."""
        self._order.forget(adapter)

    def _evict(self, count: int) -> list[int]:
        """Take blocks that hold something, and tell everyone that they do no more."""
        blocks = self._order.pop(count)
        holders, digests = self._holders, self._digests
        removed = [digest for block in blocks if (digest := digests[block]) is not None]
        for block, digest in zip(blocks, removed, strict=True):
            holders[block], digests[block] = 1, None
            if digest in self._copies:
                self._drop_copy(block, digest)
            else:
                del self._blocks[digest]
        self.cached -= count
        for listener in self._listeners:
            for digest in removed:
                listener.removed(digest)
        return blocks

    def _drop_copy(self, block: int, digest: bytes) -> None:
        """Learn that one of several blocks that go by a hash does so no more."""
        copies = self._copies[digest]
        if self._blocks[digest] == block:
            self._blocks[digest], _ = copies.popitem(last=False)
        else:
            del copies[block]
        if not copies:
            del self._copies[digest]
