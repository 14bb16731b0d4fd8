# -*- test-case-name: tests.assembly.test_queueing -*-
"""A rank's slots with the queue before them, and the places for adapters that both need, made."""

from collections.abc import Callable

from twisted.internet.defer import Deferred

from vllmsim.adapters import AdapterSlots
from vllmsim.config.live import LiveConfiguration
from vllmsim.config.schema import Configuration
from vllmsim.interfaces import IKVCache
from vllmsim.metrics.families import RankMetrics
from vllmsim.models import ModelCatalogue
from vllmsim.scheduling.drawn import DrawnCourse
from vllmsim.scheduling.generation import generate
from vllmsim.scheduling.limits import RankLimits
from vllmsim.scheduling.model import Model
from vllmsim.scheduling.sequence import Sequence
from vllmsim.scheduling.slots import SequenceSlots
from vllmsim.scheduling.waiting import WaitingQueue


def rank_limits(configuration: Configuration) -> RankLimits:
    """Read how much a rank takes on."""
    c = configuration
    return RankLimits(c.max_num_seqs, c.max_waiting_queue_length, c.max_num_queued_reqs, c.max_num_queued_tokens)


def make_adapters(live: LiveConfiguration, model: Model, models: ModelCatalogue) -> AdapterSlots:
    """Make the places of a rank's adapters. They are loaded in the pacer's time: not while that stands still.

    :param models: tells of adapters that are loaded.
    """
    adapters = AdapterSlots(live, model.pacer.seconds, models.adapter, model.adapters)
    models.loaded = adapters.load
    return adapters


def make_slots(
    live: LiveConfiguration,
    limits: Callable[[], RankLimits],
    model: Model,
    cache: IKVCache,
    models: ModelCatalogue,
    metrics: RankMetrics,
) -> SequenceSlots:
    """Make the slots of a rank. More sequences start at once when the configuration lets them.

    :param limits: tells how much the rank takes on.
    :param models: tells of adapters that are loaded, or unloaded.
    """

    def run(sequence: Sequence) -> Deferred[int]:
        return generate(model, sequence, DrawnCourse(model, cache, lambda: cache.running, sequence))

    adapters = make_adapters(live, model, models)
    waiting = WaitingQueue(limits, adapters, live.current.scheduling_policy == "priority")
    slots = SequenceSlots(model.clock, waiting, limits, run, metrics, model.adapters)
    models.watch(waiting.settle)
    metrics.deferred = lambda: waiting.deferred
    # After those who keep the limits and the adapters.
    live.watch(lambda _before, _now: slots.fill())
    return slots
