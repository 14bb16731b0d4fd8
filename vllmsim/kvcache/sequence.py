# -*- test-case-name: tests.kvcache.test_sequence -*-
"""The blocks of one sequence, from its prompt to its last token."""

import sys
from collections.abc import Callable, Sequence
from typing import Final

from attrs import define, field
from zope.interface import implementer

from vllmsim.inference import HashedPrompt, Prefill, StoredBlocks
from vllmsim.interfaces import ISequenceBlocks
from vllmsim.kvcache.hasher import BlockHasher
from vllmsim.kvcache.pool import BlockPool

_NEVER: Final = sys.maxsize


@implementer(ISequenceBlocks)
@define(eq=False)
class SequenceBlocks:
    """Blocks that grow with a sequence, out of those that it was promised.

    :param prefill: where the prompt's tokens come from.
    :param size: tokens per block.
    :param hasher: names blocks as they become full; without one they are not found again.
    :param answer: the tokens that will be generated.
    :param blocks: those of the prompt; the full ones go by their hashes already.
    :param promised: how many more there may be.
    :param released: hears once that they are given back.
    """

    prefill: Prefill
    _pool: BlockPool
    _size: int
    _hasher: BlockHasher | None
    _prompt: HashedPrompt
    _answer: Sequence[int]
    _blocks: list[int]
    _promised: int
    _released: Callable[["SequenceBlocks"], object]
    _full: int = field(init=False, default=0)
    """How many blocks go by a hash."""
    _next: int = field(init=False)
    """At how many tokens something happens: a block is full, or one more is needed."""

    def __attrs_post_init__(self) -> None:
        tokens = len(self._prompt.ids)
        if self._hasher is not None:
            self._full = tokens // self._size
        self._look_ahead(tokens)

    def grow(self, tokens: int) -> None:
        """Take and fill blocks; see :class:`vllmsim.interfaces.ISequenceBlocks`."""
        # This is called for every run of tokens, and nearly always there is nothing to do.
        if tokens < self._next:
            return
        missing = -(-tokens // self._size) - len(self._blocks)
        if missing > 0:
            self._blocks += self._pool.take(missing)
            self._promised -= missing
        if self._hasher is not None:
            while self._full < tokens // self._size:
                self._fill(self._hasher)
        self._look_ahead(tokens)
        self._pool.tell()

    def release(self) -> None:
        """Give everything back; see :class:`vllmsim.interfaces.ISequenceBlocks`."""
        if self._next == _NEVER:
            return
        self._next = _NEVER
        blocks, self._blocks = self._blocks, []
        self._pool.release(blocks, self._promised)
        self._pool.tell()
        self._released(self)

    def digests(self) -> list[bytes]:
        """List the hashes that its blocks go by."""
        return [digest for block in self._blocks[: self._full] if (digest := self._pool.digest(block)) is not None]

    def store_again(self, digests: Sequence[bytes]) -> None:
        """Have its full blocks go by their hashes again, when all was forgotten.

        :param digests: what it listed before.
        """
        # Those that it shares with a sequence before it are there already, and they are the first.
        start = sum(self._pool.digest(block) is not None for block in self._blocks[: self._full])
        if self._hasher is None or start == self._full:
            return
        keys = [*self._prompt.keys]
        keys += [self._hasher.keys_of(self._prompt, number) for number in range(len(keys), self._full)]
        parent = digests[start - 1] if start else None
        stop = self._full * self._size
        ids = self._prompt.between(self._answer, start * self._size, stop)
        self._pool.store(
            self._blocks[start : self._full],
            StoredBlocks(digests[start:], parent, ids, keys[start:], self._prompt.adapter),
        )

    def _fill(self, hasher: BlockHasher) -> None:
        """Hash the first block that does not go by a hash."""
        full, prompt = self._full, self._prompt
        parent = self._pool.digest(self._blocks[full - 1]) if full else None
        ids = self._prompt.between(self._answer, full * self._size, (full + 1) * self._size)
        digest, keys = hasher.extend(prompt, full, parent, ids), hasher.keys_of(prompt, full)
        self._pool.store([self._blocks[full]], StoredBlocks((digest,), parent, ids, (keys,), prompt.adapter))
        self._full += 1

    def _look_ahead(self, tokens: int) -> None:
        size = self._size
        if self._hasher is not None and tokens % size:
            self._next = (tokens // size + 1) * size
        else:
            self._next = len(self._blocks) * size + 1
