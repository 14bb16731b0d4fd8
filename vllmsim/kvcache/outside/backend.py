# -*- test-case-name: tests.kvcache.outside.test_backend -*-
"""Which cache outside this server there is: none, or the one that ``kv-cache-backend`` names.

Another kind of cache is one more form of that option's value (:mod:`vllmsim.config.backends`), and one more provider of
:class:`vllmsim.interfaces.IBlockStore` that is made here.
"""

from collections.abc import Callable
from typing import Any

from vllmsim.config.backends import parse_backend
from vllmsim.config.schema import Configuration
from vllmsim.interfaces import IBlockStore, IBlockStoreMetrics


def make_store(
    configuration: Configuration,
    metrics: Callable[[], IBlockStoreMetrics],
    jitter: Callable[[], float],
    reactor: Any,
) -> IBlockStore | None:
    """Make what stands for it, which does nothing before it is started.

    :param metrics: makes what hears of it, if there is one.
    :param jitter: draws from 0 to 1.
    :param reactor: provides time, and connections.
    """
    c = configuration
    backend = parse_backend(c.kv_cache_backend)
    if backend is None:
        return None
    # txredisapi needs a reactor when it is imported, and time that a start without it can do without.
    from vllmsim.kvcache.outside.redislink import RedisLink  # noqa: PLC0415
    from vllmsim.kvcache.outside.redisstore import RedisStore, endpoint_of, key_prefix  # noqa: PLC0415

    heard = metrics()
    kind = (c.model, c.revision or "", c.block_size, c.prefix_caching_hash_algo, c.hash_seed)
    return RedisStore(
        RedisLink(backend, endpoint_of(backend, reactor), reactor, heard, jitter),
        key_prefix(c.kv_cache_backend_namespace, *kind),
        c.kv_cache_backend_ttl,
        c.kv_cache_backend_timeout,
        reactor,
        heard,
    )
