# -*- test-case-name: tests.scheduling.test_loads -*-
"""What tells how much a rank has to do, made for the first who asks: few do."""

from collections.abc import Callable
from functools import cache

from twisted.internet.interfaces import IReactorTime

from vllmsim.config.schema import Configuration
from vllmsim.inference import RankLoad
from vllmsim.interfaces import ILoads
from vllmsim.metrics.families import RankMetrics
from vllmsim.scheduling.backlog import Backlog
from vllmsim.scheduling.limits import RankLimits
from vllmsim.scheduling.pacing import TokenPacer


def loads_maker(
    configuration: Configuration,
    number: int,
    clock: IReactorTime,
    load: Callable[[], RankLoad],
    backlog: Backlog,
    limits: Callable[[], RankLimits],
    metrics: RankMetrics,
    pacer: TokenPacer,
) -> Callable[[], ILoads]:
    """Find out how to make it, once.

    :param number: which rank it is.
    :param load: counts what waits and what runs.
    :param limits: tells how much the rank takes on.
    """

    @cache
    def make() -> ILoads:
        from vllmsim.loads import Progress  # noqa: PLC0415
        from vllmsim.scheduling.loads import Pace, RankLoads  # noqa: PLC0415

        c = configuration
        tokens = c.kv_cache_size * c.block_size if c.enable_kvcache else 0
        pace = Pace(clock, lambda: Progress(*metrics.progress()))
        return RankLoads(number, load, backlog, limits, tokens, pacer.watch, pace)

    return make
