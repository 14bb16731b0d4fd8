# -*- test-case-name: tests.kvcache.steps.test_blocks -*-
"""The blocks of one sequence that is computed step by step.

As in vLLM a full block goes by its hash as soon as a step computes its last token, and not when that step is over.
"""

import sys
from collections.abc import Sequence
from typing import Final

from attrs import define, field, frozen
from zope.interface import implementer

from vllmsim.inference import HashedPrompt, Prefill, StoredBlocks
from vllmsim.interfaces import ICacheMetrics, IStepBlocks
from vllmsim.kvcache.hasher import BlockHasher
from vllmsim.kvcache.pool import BlockPool
from vllmsim.kvcache.pressure import Pressure

_NEVER: Final = sys.maxsize


@frozen(eq=False)
class StepBooks:
    """What all sequences of a rank have in common.

    :param size: tokens per block.
    :param hasher: names full blocks; None where prefixes are not cached, so that nothing is ever found.
    :param pressure: has blocks that no sequence has, and comes before those that wait.
    :param outside: whether there is a cache outside this server that prompts are looked up in.
    :param rank: the data-parallel rank whose they are.
    :param drops: whether the last block that is found of a prefix is computed again.
    """

    pool: BlockPool
    size: int
    hasher: BlockHasher | None
    metrics: ICacheMetrics
    pressure: Pressure
    outside: bool
    rank: int
    drops: bool = False
    holders: set["StepBlocks"] = field(init=False, factory=set)
    """Those that have blocks."""


@implementer(IStepBlocks)
@define(eq=False)
class StepBlocks:
    """Keeps the blocks of a sequence.

    :param answer: the tokens that will be generated.
    :param reads: whether blocks that have its prefix may be used.
    :param remote_tokens: how many tokens of the prompt are fetched from the server that ran its prefill.
    """

    _books: StepBooks
    _prompt: HashedPrompt
    _answer: Sequence[int]
    _reads: bool
    _remote_tokens: int
    _ids: list[int] = field(init=False, factory=list)
    _last: list[int] = field(init=False, factory=list)
    """Those that it has given back last."""
    _digests: list[bytes] = field(init=False)
    """The hashes of its full blocks, as far as they have ever been needed."""
    _full: int = field(init=False, default=0)
    """How many of its blocks go by a hash, or have gone by one."""
    _slots: int = field(init=False, default=0)
    """For how many tokens it has blocks."""
    _next: int = field(init=False)
    """At how many tokens the next block goes by its hash."""
    _found: list[int] = field(init=False, factory=list)
    _looked_for: tuple[int, int, int] = field(init=False, default=(0, 0, 0))
    """How many tokens it had when it was looked up, and how many of them were here, and elsewhere."""
    _entered: bool = field(init=False, default=False)
    _cached: int = field(init=False, default=0)
    _external: int = field(init=False, default=0)

    @_digests.default
    def _copy_hashes(self) -> list[bytes]:
        return [*self._prompt.hashes]

    @_next.default
    def _first_full(self) -> int:
        return _NEVER if self._books.hasher is None else self._books.size

    @property
    def count(self) -> int:
        """How many blocks it has."""
        return len(self._ids)

    @property
    def prefill(self) -> Prefill:
        """Where the prompt's tokens came from at first, and which blocks have them now, or had them last."""
        tokens = len(self._prompt.ids)
        blocks = tuple((self._ids or self._last)[: -(-tokens // self._books.size)])
        return Prefill(tokens, self._cached, self._external, blocks, self._books.rank)

    def missing(self, tokens: int) -> int:
        """Count the blocks that it has too few for some tokens."""
        return max(0, -(-tokens // self._books.size) - len(self._ids))

    def find(self, tokens: int) -> tuple[int, int]:
        """Look a sequence up that has no blocks; see :class:`vllmsim.interfaces.IStepBlocks`."""
        books = self._books
        self._found = []
        if self._reads and books.hasher is not None:
            self._found = books.pool.find(self._digests, (tokens - 1) // books.size)
            if books.drops and self._found:
                self._found.pop()
        cached = len(self._found) * books.size
        external = max(0, self._count_elsewhere() - cached)
        self._looked_for = tokens, cached, external
        return cached, external

    def enter(self, whole: int, slots: int, known: int, spare: int, reserved: int = 0) -> bool:
        """Take what was found, and free blocks behind; see :class:`vllmsim.interfaces.IStepBlocks`."""
        books, found = self._books, self._found
        here = len(self._ids) + len(found)
        room = books.pool.room - books.pressure.missing - books.pool.count_free(found) - spare
        if max(0, -(-whole // books.size) - here) > room or max(0, -(-slots // books.size) - here) > room - reserved:
            return False
        if not self._ids:
            self._begin()
        books.holders.add(self)
        return self.grow(slots, known)

    def grow(self, slots: int, known: int) -> bool:
        """Take and fill blocks; see :class:`vllmsim.interfaces.IStepBlocks`."""
        # This is called for every sequence of every step, and nearly always there is nothing to do.
        if slots > self._slots:
            pool, size = self._books.pool, self._books.size
            missing = -(-slots // size) - len(self._ids)
            if missing > pool.room:
                return False
            pool.promise(missing)
            self._ids += pool.take(missing)
            self._slots = len(self._ids) * size
        if known >= self._next:
            self._fill(known // self._books.size)
        return True

    def release(self) -> None:
        """Give everything back; see :class:`vllmsim.interfaces.IStepBlocks`."""
        self._found = []
        if not self._ids:
            return
        self._last, self._ids = self._ids, []
        self._slots = 0
        self._mark(0)
        self._books.pool.release(self._last, 0)
        self._books.pool.tell()
        self._books.holders.discard(self)

    def _begin(self) -> None:
        """Share what was found, and tell the metrics the first time."""
        books, found = self._books, self._found
        books.pool.share(found)
        self._ids, self._found = found, []
        self._slots = len(found) * books.size
        self._mark(len(found))
        if self._entered:
            return
        self._entered = True
        tokens, self._cached, self._external = self._looked_for
        if self._reads and books.hasher is not None:
            books.metrics.prefix_looked_up(tokens, self._cached)
        if self._remote_tokens or (self._reads and books.outside):
            books.metrics.external_looked_up(tokens - self._cached, self._external)

    def _count_elsewhere(self) -> int:
        """Tell how many tokens of the prompt can be fetched, if they are not here."""
        books = self._books
        # As in vLLM the last token of a prompt is computed in any case: that gives the first token of the answer.
        most = len(self._prompt.ids) - 1
        if not self._reads:
            return 0
        if self._remote_tokens:
            # The server that ran the prefill keeps them for one transfer.
            return 0 if self._entered else min(self._remote_tokens, most)
        if books.outside:
            return min(self._prompt.shared, most // books.size) * books.size
        return 0

    def _mark(self, full: int) -> None:
        self._full = full
        if self._books.hasher is not None:
            self._next = (full + 1) * self._books.size

    def _fill(self, full: int) -> None:
        """Have its first blocks go by their hashes.

        :param full: how many; more than do already.
        """
        books, prompt, start = self._books, self._prompt, self._full
        hasher, size, digests = books.hasher, books.size, self._digests
        assert hasher is not None
        keys = [*prompt.keys[start:full]]
        for number in range(max(start, len(prompt.hashes)), full):
            if number == len(digests):
                parent = digests[-1] if digests else None
                ids = prompt.between(self._answer, number * size, (number + 1) * size)
                digests.append(hasher.extend(prompt, number, parent, ids))
            keys.append(hasher.keys_of(prompt, number))
        parent = digests[start - 1] if start else None
        ids = prompt.between(self._answer, start * size, full * size)
        stored = StoredBlocks(digests[start:full], parent, ids, keys, prompt.adapter)
        books.pool.store(self._ids[start:full], stored)
        self._mark(full)
