"""What must be true of a rank at any moment: its slots, its KV blocks and its adapters, each counted in two ways."""

from collections import Counter
from typing import Any

from attrs import define, field

from tests.kvcache.fakes import RecordingListener
from tests.kvcache.known import KnownBlocks
from tests.kvcache.recording import RecordingPublisher
from vllmsim.config.live import LiveConfiguration
from vllmsim.config.schema import Configuration
from vllmsim.kvcache.cache import KVCache
from vllmsim.kvcache.pool import BlockPool
from vllmsim.kvcache.pressure import Pressure
from vllmsim.rank import Rank
from vllmsim.scheduling.pacing import Place
from vllmsim.scheduling.sequence import Sequence


@define(eq=False)
class Books:
    """The books of one rank.

    :param live: its configuration.
    """

    rank: Rank
    number: int
    live: LiveConfiguration
    listener: RecordingListener = field(factory=RecordingListener)
    publisher: RecordingPublisher = field(factory=RecordingPublisher)
    told: KnownBlocks = field(factory=KnownBlocks)
    """What those know who hear of blocks from outside."""
    read: int = 0
    """How many batches of events have come."""
    _in_slots: int = field(init=False, default=0)
    """How many sequences were in slots when this was looked at last."""
    _in_use: int = field(init=False, default=0)
    """How many adapters were in use then."""
    _most_slots: int = field(init=False, default=0)
    """How many slots there have been since then, at most."""
    _most_loras: int = field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        """Listen to what becomes of blocks, as others do and from inside."""
        self._swapped(self.live.current, self.live.current)
        self.live.watch(self._swapped)
        self.listen()
        if self.rank.events is not None:
            self.rank.events.batcher.join(self.publisher)

    def _swapped(self, before: Configuration, now: Configuration) -> None:
        self._most_slots = max(self._most_slots, before.max_num_seqs, now.max_num_seqs)
        self._most_loras = max(self._most_loras, before.max_loras, now.max_loras)

    def listen(self) -> None:
        """Hear what becomes of blocks, at once."""
        if self.pool is not None:
            self.pool._listeners = [*self.pool._listeners, self.listener]

    @property
    def hears(self) -> bool:
        """Whether all is told that has happened."""
        return self.pool is not None and self.listener in self.pool._listeners

    @property
    def cache(self) -> KVCache | None:
        """The cache, if blocks are simulated."""
        cache = self.rank.simulator._cache
        return cache if isinstance(cache, KVCache) else None

    @property
    def pool(self) -> BlockPool | None:
        """Its blocks."""
        return None if self.cache is None else self.cache._pool

    @property
    def sequences(self) -> list[Sequence]:
        """All that are in."""
        return list(self.rank.backlog.sequences)

    @property
    def queue(self) -> Any:
        """Those that wait for a slot."""
        slots: Any = self.rank.slots
        return slots._waiting

    @property
    def adapters(self) -> Any:
        """Where adapters are."""
        return self.queue.adapters

    @property
    def kept(self) -> list[Place]:
        """The places in the pacer that may be there when nobody is."""
        return [place for _, _, place in self.rank.pacer._heap if place.paced is None]

    @property
    def inside(self) -> list[Sequence]:
        """Those that are in slots."""
        return [each for each in self.sequences if each.generation is not None]

    def awaits(self, adapter: int) -> bool:
        """Tell whether somebody waits for an adapter, by its number."""
        return adapter in self.queue._lines

    @property
    def running(self) -> int:
        """How many run, as the rank says: who waits in its slot for an answer or for blocks does not."""
        return self.rank.simulator.load().running

    def check(self) -> None:
        """Count everything."""
        self.check_slots()
        self.check_backlog()
        self.check_adapters()
        self.check_cache()
        if self.rank.events is not None:
            self.check_events()

    def check_slots(self) -> None:
        """As many sequences are in slots as there are slots at most, and nobody waits who may run."""
        slots, sequences, most = self.rank.slots, self.sequences, self.live.current.max_num_seqs
        inside = self.inside
        assert slots.running == len(inside), (slots.running, inside)
        assert self.queue.count == len(sequences) - len(inside), (self.queue.count, sequences)
        assert slots.running <= max(self._in_slots, self._most_slots), (slots.running, self._in_slots, self._most_slots)
        self._in_slots, self._most_slots = slots.running, most
        assert slots.running >= most or not self.queue.runnable(), "somebody waits who may run"
        lines = sum(len(line.sequences) for line in (self.queue._base, *self.queue._lines.values()))
        assert lines == self.queue.count
        away = sum(
            len(line.sequences) for line in self.queue._lines.values() if not self.queue.adapters.holds(line.adapter)
        )
        assert away == self.queue._count_away

    def check_backlog(self) -> None:
        """Prompts whose first token is not out are counted once for each choice, and once for all."""
        unread, backlog = [each for each in self.sequences if not each.prefilled], self.rank.backlog
        assert backlog.unread == len(unread)
        assert backlog.prefill_tokens == sum(len(each.prompt.ids) for each in unread)
        assert backlog.unread_tokens == sum(len(each.prompt.ids) for each in unread if each.counts_prompt)
        assert len(self.rank.simulator.requests) >= len({each.submission for each in self.sequences})

    def check_adapters(self) -> None:
        """Whoever runs with an adapter has it in a slot, and no adapter that is served no more is kept for nobody."""
        slots, c = self.adapters, self.live.current
        used = Counter(each.adapter.number for each in self.inside if each.adapter)
        assert slots._users == dict(used), (slots._users, used)
        assert len(used) <= max(self._in_use, self._most_loras), (used, self._in_use, self._most_loras)
        self._in_use, self._most_loras = len(used), c.max_loras
        idle, resting = set(slots._idle), set(slots._resting)
        assert idle <= resting
        assert not resting & set(used)
        assert not idle or len(used) + len(idle) <= c.max_loras, (used, idle)
        room = max(c.max_cpu_loras or 0, c.max_loras)
        assert not resting or len(used) + len(resting) <= room, (used, resting)
        assert set(slots._there) == resting | set(used), (slots._there, resting, used)
        for adapter in slots._resting.values():
            served = slots._adapter_of(adapter.name)
            kept = served is not None and served.number == adapter.number
            assert kept or self.awaits(adapter.number), f"{adapter} is kept, and served no more"

    def check_cache(self) -> None:
        """Whoever runs has what it will need, and nobody waits for whom there is room."""
        if self.cache is None:
            return
        cache, pool, pressure = self.cache, self.cache._pool, self.cache._pressure
        running = list(cache._running)
        self.check_blocks(pool, pressure, [each._blocks for each in running])
        assert pool._promised == sum(each._promised for each in running)
        assert pool.room >= 0, pool.room
        assert len(running) == self.running
        assert cache.waiting + len(running) <= self.rank.slots.running
        assert pressure.settled or not pool.room
        first = next(iter(cache._waiting.values()), None)
        if first is not None:
            needed = -(-(len(first.prompt.ids) + max(0, len(first.answer) - 1)) // cache._block_size)
            assert needed > pool.room - pressure.missing, "there is room for who waits"

    def check_blocks(self, pool: BlockPool, pressure: Pressure, had: list[list[int]]) -> None:
        """Each block is somebody's as often as it is counted, or free.

        :param had: the blocks of each sequence that has any.
        """
        held = Counter(block for each in had for block in each)
        for each in had:
            assert len(set(each)) == len(each), "a sequence has a block twice"
        shared = [block for block, count in held.items() if count > 1]
        assert all(pool._digests[block] is not None for block in shared), "a block is shared for what it does not hold"
        held.update(pressure._blocks)
        holders = Counter({block: count for block, count in enumerate(pool._holders) if block and count})
        assert held == holders, (held, holders)
        free = [block for block, count in enumerate(pool._holders) if not count]
        blank, full = set(pool._blank), set(pool._order._free)
        assert len(blank) == len(pool._blank)
        assert not blank & full
        assert blank | full == set(free), (blank, full, free)
        assert {block for block in free if pool._digests[block] is not None} == full
        assert pool.used == len(held) + pool.aside
        assert pool.used + pool.free == pool.usable
        self.check_hashes(pool)

    def check_hashes(self, pool: BlockPool) -> None:
        """What a block holds is found by it, and listeners have been told of it."""
        by_hash: dict[bytes, set[int]] = {}
        for block, digest in enumerate(pool._digests):
            if digest is not None:
                by_hash.setdefault(digest, set()).add(block)
        known = {digest: {block, *pool._copies.get(digest, ())} for digest, block in pool._blocks.items()}
        assert by_hash == known, (by_hash, known)
        assert set(pool._copies) <= set(pool._blocks)
        assert all(pool._copies.values())
        assert pool.cached == sum(map(len, by_hash.values()))
        if self.hears and self.live.current.caches_prefixes:
            assert {digest: len(blocks) for digest, blocks in by_hash.items()} == +self.listener.known
        owners, order = Counter(map(id, pool._order._owners.values())), pool._order
        for each in order._adapters.values():
            assert each.blocks == owners[id(each)]
            assert set(each.free) <= set(order._free)
        assert set(order._owners) <= {block for blocks in by_hash.values() for block in blocks}

    def check_events(self) -> None:
        """Batches of events are numbered without a gap, and when none waits they tell what blocks hold."""
        batches, self.publisher.batches = self.publisher.batches, []
        for sequence, payload, _ in batches:
            assert sequence == self.read, (sequence, self.read)
            self.read += 1
            self.told.read(payload)
        assert self.rank.events is not None
        batcher = self.rank.events.batcher
        assert batcher.sequence == self.read
        assert bool(batcher._events) == (batcher._call is not None and batcher._call.active())
        if not batcher._events and self.pool is not None:
            digests = [digest for digest in self.pool._digests if digest is not None]
            expected = Counter(int.from_bytes(digest[-8:], "big") for digest in digests)
            assert dict(expected) == self.told.known, (expected, self.told.known)

    def check_rest(self) -> None:
        """Nothing is left of anybody."""
        assert not self.sequences
        assert not self.rank.slots.running
        assert not len(self.rank.simulator.requests)
        assert not self.adapters._users
        assert self.rank.backlog.prefill_tokens == self.rank.backlog.unread == self.rank.backlog.unread_tokens == 0
        if self.cache is not None:
            assert not self.cache._running
            assert not self.cache._waiting
            assert self.cache._pool.used == self.cache._pressure.held
        assert not [place.paced for _, _, place in self.rank.pacer._heap if place not in self.kept]
