# -*- test-case-name: tests.kvcache.outside.test_lookups -*-
"""A cache outside this server, between the hashing of prompts and the pool of blocks.

What blocks of this server hold is written there, and stays when they are given to others: the cache outside is the
larger one. A prompt that is not all here is looked up there, before its sequence waits for a slot.

One that is all here is looked up too, now and then and without waiting: its blocks are in use, and should not run out
there. Whatever turns out to be missing, since the cache was emptied or could not be reached, is written again.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Final

from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from vllmsim.clocks.simulated import work_clock
from vllmsim.inference import HashedPrompt, InferenceRequest, StoredBlocks, TokenizedPrompt
from vllmsim.interfaces import IBlockListener, IBlockStore
from vllmsim.kvcache.hasher import BlockHasher
from vllmsim.kvcache.pool import BlockPool
from vllmsim.shifts import Shifts

_MOST_REMEMBERED: Final = 4096
_MOST_BETWEEN: Final = 60.0


@define(eq=False)
class OutsideLookups:
    """Hashes prompts, and looks them up outside.

    :param block_size: tokens per block.
    :param lifetime: seconds that a block stays there when nobody asks for it.
    :param shifts: the time that it works.
    """

    _log: ClassVar[Logger] = Logger()

    _hasher: BlockHasher
    _store: IBlockStore
    _pool: BlockPool
    _block_size: int
    _lifetime: float
    _clock: IReactorTime = field(converter=work_clock)
    _shifts: Shifts
    _refreshed: "OrderedDict[bytes, float]" = field(init=False, factory=OrderedDict)
    """When prefixes that are here were looked up, by the last hash of each."""

    async def hash(self, prompt: TokenizedPrompt, request: InferenceRequest) -> HashedPrompt:
        """Hash the full blocks of a prompt, and count those that are outside if that can be of use."""
        hashed = await self._hasher.hash(prompt, request)
        # The last token of a prompt is computed in any case.
        wanted = hashed.hashes[: (len(hashed.ids) - 1) // self._block_size]
        if not wanted or not request.reads_cache or request.remote_prefill:
            return hashed
        looked: list[Deferred[int]] = []
        await self._shifts.run(self._begin(wanted, looked))
        return evolve(hashed, shared=await looked[0]) if looked else hashed

    def extend(self, prompt: HashedPrompt, number: int, parent: bytes | None, ids: Sequence[int]) -> bytes:
        """Hash one block that has tokens of an answer."""
        return self._hasher.extend(prompt, number, parent, ids)

    def keys_of(self, prompt: HashedPrompt, number: int) -> tuple[Any, ...] | None:
        """Tell what is hashed beside the tokens of such a block."""
        return self._hasher.keys_of(prompt, number)

    def _begin(self, hashes: Sequence[bytes], looked: "list[Deferred[int]]") -> Iterator[None]:
        """Ask, which takes a fraction of a millisecond.

        :param looked: gets what there is to wait for, if there is anything.
        """
        if len(self._pool.find(hashes, len(hashes))) < len(hashes):
            looked.append(Deferred.fromCoroutine(self._look(hashes)))
        else:
            self._refresh(hashes)
        yield

    def _refresh(self, hashes: Sequence[bytes]) -> None:
        now, last = self._clock.seconds(), hashes[-1]
        if now - self._refreshed.get(last, -_MOST_BETWEEN) < min(_MOST_BETWEEN, self._lifetime / 4):
            return
        self._refreshed[last] = now
        self._refreshed.move_to_end(last)
        if len(self._refreshed) > _MOST_REMEMBERED:
            self._refreshed.popitem(last=False)
        looked = Deferred.fromCoroutine(self._look(hashes))
        looked.addErrback(lambda failure: self._log.failure("While refreshing blocks", failure))

    async def _look(self, hashes: Sequence[bytes]) -> int:
        there = await self._store.lookup(hashes)
        if there is None:
            return 0
        here = len(self._pool.find(hashes, len(hashes)))
        if there < here:
            self._store.store(hashes[there:here])
        return there


@implementer(IBlockListener)
@define(eq=False)
class OutsideWriter:
    """Writes what blocks hold to a cache outside."""

    _store: IBlockStore

    def stored(self, blocks: StoredBlocks) -> None:
        """Write blocks."""
        self._store.store(blocks.hashes)

    def removed(self, digest: bytes) -> None:
        """Leave a block where it is: that it is not here is what the cache outside is for."""

    def cleared(self) -> None:
        """Leave all blocks where they are: who wants them forgotten there too, says so."""
