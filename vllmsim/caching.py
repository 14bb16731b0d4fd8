# -*- test-case-name: tests.test_caching -*-
"""The KV cache that a configuration asks for, made. What it is made of is imported when there is one."""

from collections.abc import Sequence

from twisted.internet.interfaces import IReactorTime

from vllmsim.config.schema import Configuration
from vllmsim.interfaces import IBlockListener, ICacheMetrics, IKVCache
from vllmsim.kvcache.absent import NoCache
from vllmsim.models import ModelCatalogue
from vllmsim.randomness import derive


def make_cache(
    configuration: Configuration,
    number: int,
    seed: int,
    clock: IReactorTime,
    metrics: ICacheMetrics,
    models: ModelCatalogue,
    listeners: Sequence[IBlockListener],
) -> IKVCache:
    """Make the KV cache of a rank, which hears of adapters that are unloaded.

    :param number: which rank it is, from 0.
    :param seed: the daemon's seed.
    :param listeners: hear what happens to blocks.
    """
    c = configuration
    if not c.enable_kvcache:
        return NoCache()
    from vllmsim.kvcache.cache import KVCache  # noqa: PLC0415
    from vllmsim.kvcache.hashing import block_hash  # noqa: PLC0415
    from vllmsim.kvcache.lives import BlockLives  # noqa: PLC0415
    from vllmsim.kvcache.pool import BlockPool  # noqa: PLC0415
    from vllmsim.kvcache.prefixes import PromptHasher  # noqa: PLC0415
    from vllmsim.kvcache.shifts import Shifts  # noqa: PLC0415

    lives = hasher = None
    if c.kv_cache_metrics:
        lives = BlockLives(clock, c.kv_cache_metrics_sample, derive(seed, "lives", number), metrics)
    if c.caches_prefixes:
        own_hash = block_hash(c.prefix_caching_hash_algo, c.hash_seed, derive(seed, "hashes", number))
        hasher = PromptHasher(own_hash, c.block_size, c.served_names[0], models.adapter, Shifts(clock))
    # The first block is the null block, which nobody gets.
    pool = BlockPool(c.kv_cache_size - 1, metrics, listeners if c.caches_prefixes else (), lives)
    cache = KVCache(clock, pool, c.block_size, hasher, metrics)
    models.unloaded = cache.forget
    return cache
