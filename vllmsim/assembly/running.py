# -*- test-case-name: tests.assembly.test_running -*-
"""What runs a rank's sequences, with the KV cache that these have: slots, or an engine that goes in steps."""

from collections.abc import Callable

from vllmsim.assembly.caching import CacheParts, Events
from vllmsim.assembly.queueing import make_slots
from vllmsim.config.live import LiveConfiguration
from vllmsim.config.schema import Configuration
from vllmsim.interfaces import IBlockStore, IPrefixCache, IStepTime
from vllmsim.metrics.families import RankMetrics
from vllmsim.models import ModelCatalogue
from vllmsim.randomness import Randomness
from vllmsim.scheduling.limits import RankLimits
from vllmsim.scheduling.model import Model
from vllmsim.scheduling.runner import Runner


def make_runner(
    live: LiveConfiguration,
    number: int,
    seed: int,
    model: Model,
    limits: Callable[[], RankLimits],
    *,
    models: ModelCatalogue,
    metrics: RankMetrics,
    events: Events | None,
    store: IBlockStore | None,
    step_time: Callable[[Configuration], IStepTime],
    randomness: Randomness,
) -> tuple[IPrefixCache, Runner, Callable[[], int]]:
    """Make both, and what counts the sequences that run.

    :param number: which rank it is, from 0.
    :param seed: the daemon's seed.
    :param limits: tells how much the rank takes on.
    :param models: tells of adapters that are loaded, or unloaded.
    :param events: tells others about blocks, if anybody is told.
    :param store: the cache outside this server, if there is one.
    :param step_time: makes what tells how long steps take; called where there are steps alone.
    """
    c, clock = live.current, model.clock
    listeners = () if events is None else (events.batcher,)
    parts = CacheParts(c, number, seed, clock, metrics.cache, models, listeners, store)
    if not c.steps:
        cache = parts.promising()
        # Whoever has a slot, and no answer or no blocks yet, waits.
        return cache, make_slots(live, limits, model, cache, models, metrics), lambda: cache.running
    from vllmsim.assembly.stepping import make_engine  # noqa: PLC0415

    def told() -> None:
        """Have all that a step has done leave together."""
        if events is not None:
            events.batcher.flush()

    blocks = parts.stepping(told)
    engine = make_engine(
        live,
        limits,
        model,
        blocks,
        models,
        metrics,
        step_time=live.follow(step_time),
        generator=randomness.generator("steps", number),
    )
    return blocks, engine, lambda: engine.running
