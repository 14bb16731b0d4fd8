# -*- test-case-name: tests.kvcache.test_cache -*-
"""What KV caches have in common whose blocks are in a pool, whoever decides which sequence has them."""

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from vllmsim.clocks.simulated import work_clock
from vllmsim.inference import Adapter, HashedPrompt, InferenceRequest, TokenizedPrompt
from vllmsim.interfaces import ICacheMetrics
from vllmsim.kvcache.hasher import BlockHasher
from vllmsim.kvcache.pool import BlockPool


@define(eq=False)
class PooledCache:
    """Tells what is in a pool, and names what is to be found there.

    :param block_size: tokens per block.
    :param hasher: names full blocks; None where prefixes are not cached, so that nothing is ever found.
    """

    _clock: IReactorTime = field(converter=work_clock)
    _pool: BlockPool
    _block_size: int
    _hasher: BlockHasher | None
    _metrics: ICacheMetrics

    @property
    def capacity(self) -> int | None:
        """The most tokens that it holds."""
        return self._pool.usable * self._block_size

    @property
    def usage(self) -> float:
        """The share of blocks that sequences have."""
        return self._pool.used / self._pool.usable

    @property
    def blocks(self) -> tuple[int, int]:
        """How many blocks sequences have, and how many go by a hash."""
        return self._pool.used, self._pool.cached

    async def hash(self, prompt: TokenizedPrompt, request: InferenceRequest) -> HashedPrompt:
        """Hash a prompt's full blocks, if that is of any use."""
        if self._hasher is None:
            return HashedPrompt(prompt.ids)
        return await self._hasher.hash(prompt, request)

    def forget(self, adapter: Adapter) -> None:
        """Learn that an adapter is served no more."""
        self._pool.forget(adapter)
