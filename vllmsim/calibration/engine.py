# -*- test-case-name: tests.calibration.test_replay -*-
"""The engine that runs are played with: the daemon's scheduler and KV cache, with nobody to tell.

Nothing is known of prompts but their lengths, so that none has a prefix that is cached.
"""

from collections.abc import Sequence

from twisted.internet.task import Clock
from zope.interface import implementer

from vllmsim.assembly.stepping import step_limits
from vllmsim.config.schema import Configuration
from vllmsim.interfaces import ICacheMetrics
from vllmsim.kvcache.pool import BlockPool
from vllmsim.kvcache.steps.cache import StepCache
from vllmsim.kvcache.steps.events import StepEvents
from vllmsim.scheduling.steps.scheduler import StepScheduler


@implementer(ICacheMetrics)
class Unheard:
    """What hears of blocks, and keeps nothing; see :class:`vllmsim.interfaces.ICacheMetrics`."""

    def prefix_looked_up(self, tokens: int, hits: int) -> None:
        """Forget it."""

    def external_looked_up(self, tokens: int, hits: int) -> None:
        """Forget it."""

    def blocks_counted(self, used: int, cached: int, usable: int) -> None:
        """Forget it."""

    def block_evicted(self, lifetime: float, idle: float, reuse_gaps: Sequence[float]) -> None:
        """Forget it."""

    def events_published(self, events: int) -> None:
        """Forget it."""

    def events_dropped(self, events: int) -> None:
        """Forget it."""


def make_scheduler(configuration: Configuration) -> StepScheduler:
    """Make an engine that has nothing to do.

    :param configuration: with steps; it fits, as :mod:`vllmsim.config.rules` has it.
    """
    limits, metrics = step_limits(configuration), Unheard()
    # The first block is the null block, which nobody gets.
    pool = BlockPool(configuration.kv_cache_size - 1, metrics)
    cache = StepCache(Clock(), pool, configuration.block_size, None, metrics, StepEvents(()))
    return StepScheduler(cache, lambda: limits)
