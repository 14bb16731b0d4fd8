# -*- test-case-name: tests.assembly.test_caching -*-
"""The KV cache that a configuration asks for, and what tells others of it, made. It is imported when there is one."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from vllmsim.clocks.clocks import Clocks
from vllmsim.config.events import EventSettings, batch_settings, event_settings, event_sources
from vllmsim.config.pluginnames import PUBLISHERS
from vllmsim.config.schema import Configuration
from vllmsim.interfaces import (
    IBlockEventLog,
    IBlockEventOutlet,
    IBlockEventPublisher,
    IBlockListener,
    IBlockStore,
    ICacheMetrics,
    IKVCache,
    IStepCache,
)
from vllmsim.kvcache.absent import NoCache
from vllmsim.kvcache.hasher import BlockHasher
from vllmsim.models import ModelCatalogue
from vllmsim.randomness import Randomness, derive

if TYPE_CHECKING:
    from vllmsim.kvcache.events.batching import EventBatcher
    from vllmsim.kvcache.events.log import BlockEventLog
    from vllmsim.kvcache.events.window import ReplayWindow
    from vllmsim.kvcache.pool import BlockPool


@frozen(eq=False)
class CacheParts:
    """What the KV cache of a rank is made of. It hears of adapters that are unloaded.

    :param number: which rank it is, from 0.
    :param seed: the daemon's seed.
    :param listeners: hear what happens to blocks.
    :param store: the cache outside this server, if there is one.
    """

    _configuration: Configuration
    _number: int
    _seed: int
    _clock: IReactorTime
    _metrics: ICacheMetrics
    _models: ModelCatalogue
    _listeners: Sequence[IBlockListener] = ()
    _store: IBlockStore | None = None

    def promising(self) -> IKVCache:
        """Make one that promises each sequence room to its end."""
        c = self._configuration
        if not c.enable_kvcache:
            return NoCache(self._metrics, self._number)
        from vllmsim.kvcache.cache import KVCache  # noqa: PLC0415

        pool, hasher = self._blocks(self._hearing())
        outside = self._store is not None
        cache = KVCache(self._clock, pool, c.block_size, hasher, self._metrics, outside, c.max_model_len, self._number)
        self._models.watch(cache.forget)
        return cache

    def stepping(self, told: Callable[[], object]) -> IStepCache:
        """Make one from which steps take blocks.

        :param told: is called when the listeners have heard all that a step has done, if that was anything.
        """
        c = self._configuration
        from vllmsim.kvcache.steps.cache import StepCache  # noqa: PLC0415
        from vllmsim.kvcache.steps.events import StepEvents  # noqa: PLC0415

        events = StepEvents(self._hearing(), told)
        pool, hasher = self._blocks((events,))
        outside = self._store is not None
        drops = c.speculation is not None and c.speculation.drops_block
        cache = StepCache(
            self._clock,
            pool,
            c.block_size,
            hasher,
            self._metrics,
            events,
            outside,
            c.max_model_len,
            self._number,
            drops,
        )
        self._models.watch(cache.forget)
        return cache

    def _hearing(self) -> Sequence[IBlockListener]:
        """List who hears of blocks, with the one that writes them to a cache outside."""
        if self._store is None:
            return self._listeners
        from vllmsim.kvcache.outside.lookups import OutsideWriter  # noqa: PLC0415

        return (*self._listeners, OutsideWriter(self._store))

    def _blocks(self, listeners: Sequence[IBlockListener]) -> "tuple[BlockPool, BlockHasher | None]":
        """Make the blocks, and what hashes them if that is of any use."""
        from vllmsim.kvcache.hashing.algorithms import block_hash  # noqa: PLC0415
        from vllmsim.kvcache.hashing.prompts import PromptHasher  # noqa: PLC0415
        from vllmsim.kvcache.lives import BlockLives  # noqa: PLC0415
        from vllmsim.kvcache.outside.lookups import OutsideLookups  # noqa: PLC0415
        from vllmsim.kvcache.pool import BlockPool  # noqa: PLC0415
        from vllmsim.shifts import Shifts  # noqa: PLC0415

        c, clock, seed, number = self._configuration, self._clock, self._seed, self._number
        lives = None
        if c.kv_cache_metrics:
            lives = BlockLives(clock, c.kv_cache_metrics_sample, derive(seed, "lives", number), self._metrics)
        # The first block is the null block, which nobody gets.
        pool = BlockPool(
            c.kv_cache_size - 1, self._metrics, listeners if c.caches_prefixes else (), lives, self._models.serves
        )
        if not c.caches_prefixes:
            return pool, None
        shifts = Shifts(clock)
        own_hash = block_hash(c.prefix_caching_hash_algo, c.hash_seed, derive(seed, "hashes", number))
        hasher: BlockHasher = PromptHasher(own_hash, c.block_size, c.served_names[0], shifts)
        if self._store is not None:
            hasher = OutsideLookups(hasher, self._store, pool, c.block_size, c.kv_cache_backend_ttl, clock, shifts)
        return pool, hasher


@define(eq=False)
class Events:
    """What tells others about one rank's KV blocks.

    :param batcher: hears what happens to blocks.
    :param outlet: where that leaves the process; None where it does not.
    :param sources: tells by number where all ranks publish, as far as this one knows.
    :param make_log: makes what is read in this process; None where nothing reads there.
    """

    batcher: "EventBatcher"
    outlet: IBlockEventOutlet | None
    sources: Callable[[], Mapping[int, Mapping[str, Any]]]
    _make_log: Callable[[], "BlockEventLog"] | None
    _log: "BlockEventLog | None" = field(init=False, default=None)

    def logs(self) -> Mapping[int, IBlockEventLog]:
        """Find what is read in this process, by the rank's number; it is made for the first who asks."""
        if self._log is None and self._make_log is not None:
            self._log = self._make_log()
        return {} if self._log is None else {self._log.rank: self._log}

    def open(self) -> None:
        """Have events leave the process.

        :raises OSError: when that is not possible; ``filename`` says what cannot be opened.
        """
        if self.outlet is not None:
            self.outlet.open()

    def stop(self) -> None:
        """Let go what waits, behind which nothing comes for those who read in this process."""
        self.batcher.flush()
        if self._log is not None:
            self._log.close()

    async def close(self) -> None:
        """Have no more events leave the process, when what is on its way has left or has had its time."""
        if self.outlet is not None:
            await self.outlet.close()


def make_events(
    configuration: Configuration,
    number: int,
    clocks: Clocks,
    metrics: ICacheMetrics,
    defer_to_thread: Callable[..., Deferred[Any]],
    randomness: Randomness,
) -> Events | None:
    """Make what tells others about a rank's KV blocks, if anybody is told.

    :param number: which rank it is, from 0.
    :param defer_to_thread: runs a function off the reactor.
    :raises SystemExit: when a plugin is to publish them, and cannot be had.
    """
    published = event_settings(configuration, number)
    settings = published if configuration.grpc is False else batch_settings(configuration, number)
    if settings is None:
        return None
    from vllmsim.kvcache.events.batching import EventBatcher  # noqa: PLC0415
    from vllmsim.kvcache.events.encoding import BatchEncoder  # noqa: PLC0415

    outlet: IBlockEventOutlet | None = None
    window: ReplayWindow | None = None
    if published is not None and settings.publisher == PUBLISHERS[0]:
        window = _window(settings)
        outlet = _sockets(settings, clocks.real, metrics, defer_to_thread, window)
    elif published is not None:
        from vllmsim.assembly.plugging import Plugging  # noqa: PLC0415

        plugging = Plugging(configuration, number, clocks.real, defer_to_thread, randomness.generator)
        outlet = plugging.outlet(settings.publisher, settings.topic, metrics)
    # What a subscriber has heard of can be asked for: the window is the first to hear.
    publishers: list[IBlockEventPublisher] = [each for each in (window, outlet) if each is not None]
    block_size = configuration.block_size
    batcher = EventBatcher(
        clocks.simulated,
        clocks.epoch,
        BatchEncoder(number, block_size, settings.maps, settings.int_hashes),
        metrics,
        publishers,
        block_size,
        # What a step has done leaves together.
        settings.max_queue_size if configuration.steps else settings.batch_size,
        settings.flush_interval,
        settings.max_queue_size,
    )

    def make_log() -> "BlockEventLog":
        from vllmsim.kvcache.events import log  # noqa: PLC0415 - few read here

        return log.BlockEventLog(number, block_size, clocks.epoch, settings.buffer_steps, batcher, window)

    known, own = event_sources(configuration), settings.described()

    def sources() -> Mapping[int, Mapping[str, Any]]:
        return known if outlet is None else {**known, number: {**own, **outlet.describe()}}

    return Events(batcher, outlet, sources, None if configuration.grpc is False else make_log)


def _window(settings: EventSettings) -> "ReplayWindow | None":
    if not settings.replay_endpoint:
        return None
    from vllmsim.kvcache.events.window import ReplayWindow  # noqa: PLC0415

    return ReplayWindow(settings.buffer_steps)


def _sockets(
    settings: EventSettings,
    clock: IReactorTime,
    metrics: ICacheMetrics,
    defer_to_thread: Callable[..., Deferred[Any]],
    window: "ReplayWindow | None",
) -> IBlockEventOutlet:
    """Make sockets of ZeroMQ.

    :param window: has the batches that can be asked for once more, if they can.
    """
    from vllmsim.kvcache.events.sockets import EventSockets  # noqa: PLC0415

    if window is None:
        return EventSockets(settings, metrics, defer_to_thread)
    from vllmsim.kvcache.events.replay import Replay  # noqa: PLC0415

    replay = Replay(clock, window, settings.topic.encode(errors="replace"))
    return EventSockets(settings, metrics, defer_to_thread, replay)
