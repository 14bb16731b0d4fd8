# -*- test-case-name: tests.assembly.test_stepping -*-
"""The engine of a rank that goes in steps, made. It is imported when there is one."""

import random
from collections.abc import Callable

from attrs import evolve

from vllmsim.assembly.queueing import make_adapters
from vllmsim.config.live import LiveConfiguration
from vllmsim.config.schema import Configuration
from vllmsim.interfaces import IStepCache, IStepTime
from vllmsim.metrics.families import RankMetrics
from vllmsim.models import ModelCatalogue
from vllmsim.scheduling.limits import RankLimits
from vllmsim.scheduling.model import Model
from vllmsim.scheduling.steps.engine import StepEngine
from vllmsim.scheduling.steps.limits import StepLimits
from vllmsim.scheduling.steps.scheduler import StepScheduler
from vllmsim.scheduling.steps.speculation import SpeculativeDecoding
from vllmsim.shifts import Shifts


def step_limits(configuration: Configuration) -> StepLimits:
    """Read how much an engine does in one step."""
    c, speculation = configuration, configuration.speculation
    limits = StepLimits(
        running=c.max_num_seqs,
        batched_tokens=c.batched_tokens,
        length=c.max_model_len,
        scheduled_tokens=c.max_num_scheduled_tokens,
        long_prefill=c.long_prefill_token_threshold,
        adaptive=c.long_prefill_token_threshold_adaptive,
        chunked=c.chunks_prefills,
        whole=c.scheduler_reserve_full_isl,
        spare=int(c.watermark * c.kv_cache_size),
        adapters=c.max_loras,
    )
    if speculation is None:
        return limits
    # Where steps differ in how much each sequence takes, nobody makes one alike.
    padding = 0 if speculation.sizes else speculation.tokens
    return evolve(limits, lookahead=speculation.lookahead, draft_slots=speculation.slots, padding=padding)


def make_engine(
    live: LiveConfiguration,
    limits: Callable[[], RankLimits],
    model: Model,
    cache: IStepCache,
    models: ModelCatalogue,
    metrics: RankMetrics,
    *,
    step_time: Callable[[], IStepTime],
    generator: random.Random,
) -> StepEngine:
    """Make the engine of a rank. More sequences run at once when the configuration lets them.

    :param limits: tells how much the rank takes on.
    :param models: tells of adapters that are loaded, or unloaded.
    :param step_time: tells how long steps take.
    :param generator: the randomness of that.
    """
    adapters = make_adapters(live, model, models)
    c = live.current
    guessing = None if c.speculation is None else SpeculativeDecoding(c.speculation, metrics)
    scheduler = StepScheduler(cache, live.follow(step_limits), c.scheduling_policy == "priority", guessing)
    engine = StepEngine(model, scheduler, limits, adapters, step_time, generator, Shifts(model.clock))
    models.watch(engine.settle)
    metrics.deferred = lambda: scheduler.deferred
    # After those who keep the limits and the adapters.
    live.watch(lambda _before, _now: engine.fill())
    return engine
