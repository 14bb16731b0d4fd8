# -*- test-case-name: tests.kvcache.test_cache -*-
"""The KV cache of one rank: who may have blocks, and what they find there.

vLLM gives a sequence blocks step by step and takes them away again when there are too few: it preempts. Here the whole
answer is known before its first token, and so is the number of blocks that it will fill. A sequence is let in when all
of them are free, and those that it does not have yet are promised to it: whoever runs can go on to the end. Who asks
first is first, even when someone behind would find room: so does vLLM, and nobody waits for ever.

As in vLLM a prompt's blocks are found by others as soon as its sequence is let in, and not when it is computed.
"""

from collections import OrderedDict
from collections.abc import Sequence

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from zope.interface import implementer

from vllmsim.inference import HashedPrompt, Prefill, StoredBlocks
from vllmsim.interfaces import IKVCache, ISequenceBlocks
from vllmsim.kvcache.pooled import PooledCache
from vllmsim.kvcache.pressure import Pressure, pressure_on
from vllmsim.kvcache.sequence import SequenceBlocks
from vllmsim.turns import TURN


@frozen(eq=False)
class _Wanted:
    """What a sequence asks for: the arguments of :meth:`KVCache.allocate`."""

    prompt: HashedPrompt
    answer: Sequence[int]
    reads: bool
    remote_tokens: int


@implementer(IKVCache)
@define(eq=False)
class KVCache(PooledCache):
    """Lets sequences in, and knows what they have.

    :param outside: whether there is a cache outside this server that prompts are looked up in.
    :param longest: the most tokens that a sequence has; None for as many as there is room for.
    :param rank: the data-parallel rank whose it is.
    """

    _outside: bool = False
    _longest: int | None = None
    _rank: int = 0
    _pressure: Pressure = field(init=False)
    _waiting: "OrderedDict[Deferred[ISequenceBlocks], _Wanted]" = field(init=False, factory=OrderedDict)
    _running: dict[SequenceBlocks, None] = field(init=False, factory=dict)
    _turn: IDelayedCall | None = field(init=False, default=None)
    _spent: float = field(init=False, default=0.0)
    """Seconds that it took to let in those who did not wait, since other events were let in, and perhaps before."""

    @_pressure.default
    def _make_pressure(self) -> Pressure:
        return pressure_on(self._pool, self._clock, self._longest, self._block_size)

    @property
    def waiting(self) -> int:
        """How many sequences wait for blocks."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """How many sequences have blocks."""
        return len(self._running)

    def allocate(
        self, prompt: HashedPrompt, answer: Sequence[int], reads: bool, remote_tokens: int
    ) -> "Deferred[ISequenceBlocks]":
        """Let a sequence in, now or later; see :class:`vllmsim.interfaces.IKVCache`."""
        wanted = _Wanted(prompt, answer, reads, remote_tokens)
        if not self._waiting and self._spent < TURN:
            begun = self._clock.seconds()
            blocks = self._admit(wanted)
            self._spent += self._clock.seconds() - begun
            if blocks is not None:
                return succeed(blocks)
        turn: Deferred[ISequenceBlocks] = Deferred(self._give_up)
        self._waiting[turn] = wanted
        if self._spent >= TURN:
            self._look_for_room()
        return turn

    def reset(self, running: bool) -> bool:
        """Forget what blocks hold; see :class:`vllmsim.interfaces.IPrefixCache`."""
        if self._running and not running:
            return False
        known = [(each, each.digests()) for each in self._running]
        self._pool.clear()
        for each, digests in known:
            each.store_again(digests)
        self._pool.tell()
        return True

    def occupy(self, share: float) -> float:
        """Have blocks used by nobody; see :class:`vllmsim.interfaces.IPrefixCache`."""
        occupied = self._pressure.want(share)
        self._pressure.settle(self._clock.seconds() + TURN)
        self._look_for_room()
        return occupied

    def _admit(self, wanted: _Wanted) -> SequenceBlocks | None:
        """Give a sequence its first blocks, if there will be enough for all its tokens."""
        pool, size, prompt = self._pool, self._block_size, wanted.prompt
        reads = wanted.reads and self._hasher is not None
        tokens = len(prompt.ids)
        # The last token of an answer is never computed: nothing follows it.
        total = -(-(tokens + max(0, len(wanted.answer) - 1)) // size)
        # The last token of a prompt always is: it gives the answer's first.
        most = min((tokens - 1) // size, len(prompt.hashes)) if reads else 0
        room = pool.room - self._pressure.missing
        if total - most > room:
            return None
        found = pool.find(prompt.hashes, most)
        if total - len(found) + pool.count_free(found) > room:
            return None
        cached = len(found) * size
        external = self._count_external(wanted, reads, cached)
        pool.share(found)
        pool.promise(total - len(found))
        needed = -(-tokens // size)
        blocks = found + pool.take(needed - len(found))
        if self._hasher is not None and len(found) < len(prompt.hashes):
            self._store(prompt, blocks, len(found))
        if reads:
            self._metrics.prefix_looked_up(tokens, cached)
        prefill = Prefill(tokens, cached, external, tuple(blocks), self._rank)
        sequence = SequenceBlocks(
            prefill, pool, size, self._hasher, prompt, wanted.answer, blocks, total - needed, self._leave
        )
        self._running[sequence] = None
        pool.tell()
        return sequence

    def _count_external(self, wanted: _Wanted, reads: bool, cached: int) -> int:
        """Tell how many tokens beyond those that are here are fetched from elsewhere."""
        most = len(wanted.prompt.ids) - 1
        if not wanted.reads:
            # As in vLLM it is computed here, though another server has done so.
            return 0
        if wanted.remote_tokens:
            there = min(wanted.remote_tokens, most)
        elif reads and self._outside:
            there = min(wanted.prompt.shared, most // self._block_size) * self._block_size
        else:
            return 0
        external = max(0, there - cached)
        self._metrics.external_looked_up(most + 1 - cached, external)
        return external

    def _store(self, prompt: HashedPrompt, blocks: Sequence[int], known: int) -> None:
        """Have the full blocks of a prompt found from now on, but for those that are found already."""
        full, size = len(prompt.hashes), self._block_size
        hashes, ids, keys = prompt.hashes, prompt.ids[known * size : full * size], prompt.keys
        parent = hashes[known - 1] if known else None
        stored = StoredBlocks(hashes[known:], parent, ids, keys[known:], prompt.adapter)
        self._pool.store(blocks[known:full], stored)

    def _give_up(self, turn: "Deferred[ISequenceBlocks]") -> None:
        del self._waiting[turn]
        self._look_for_room()

    def _leave(self, sequence: SequenceBlocks) -> None:
        del self._running[sequence]
        self._look_for_room()

    def _look_for_room(self) -> None:
        """Let in who waits, in the reactor's next turn: once, for however many leave in this one."""
        if self._turn is None and (self._waiting or not self._pressure.settled):
            self._turn = self._clock.callLater(0, self._let_in)

    def _let_in(self) -> None:
        self._turn, self._spent = None, 0.0
        end = self._clock.seconds() + TURN
        if not self._pressure.settle(end):
            self._look_for_room()
            return
        while self._waiting:
            turn, wanted = next(iter(self._waiting.items()))
            blocks = self._admit(wanted)
            if blocks is None:
                return
            del self._waiting[turn]
            turn.callback(blocks)
            if self._clock.seconds() > end:
                self._look_for_room()
                return
