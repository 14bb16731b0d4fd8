# -*- test-case-name: tests.assembly.test_queueing -*-
"""A rank's slots with the queue before them, and the places for adapters that both need, made."""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from vllmsim.adapters import AdapterSlots
from vllmsim.config.live import LiveConfiguration
from vllmsim.config.schema import Configuration
from vllmsim.metrics.adapters import AdapterMetrics
from vllmsim.metrics.families import RankMetrics
from vllmsim.models import ModelCatalogue
from vllmsim.scheduling.limits import RankLimits
from vllmsim.scheduling.pacing import TokenPacer
from vllmsim.scheduling.sequence import Sequence
from vllmsim.scheduling.slots import SequenceSlots
from vllmsim.scheduling.waiting import WaitingQueue


def rank_limits(configuration: Configuration) -> RankLimits:
    """Read how much a rank takes on."""
    c = configuration
    return RankLimits(c.max_num_seqs, c.max_waiting_queue_length, c.max_num_queued_reqs, c.max_num_queued_tokens)


def make_slots(
    live: LiveConfiguration,
    limits: Callable[[], RankLimits],
    clock: IReactorTime,
    pacer: TokenPacer,
    generate: Callable[[Sequence], Deferred[int]],
    models: ModelCatalogue,
    metrics: RankMetrics,
    adapter_metrics: AdapterMetrics,
) -> SequenceSlots:
    """Make the slots of a rank. More sequences start at once when the configuration lets them.

    :param limits: tells how much the rank takes on.
    :param pacer: tells the time in which adapters are loaded: they are not while it stands still.
    :param generate: runs one sequence.
    :param models: tells of adapters that are loaded, or unloaded.
    """
    adapters = AdapterSlots(live, pacer.seconds, models.adapter, adapter_metrics)
    waiting = WaitingQueue(limits, adapters, live.current.scheduling_policy == "priority")
    slots = SequenceSlots(clock, waiting, limits, generate, metrics, adapter_metrics)
    models.loaded = adapters.load
    models.watch(waiting.settle)
    metrics.deferred = lambda: waiting.deferred
    # After those who keep the limits and the adapters.
    live.watch(lambda _before, _now: slots.fill())
    return slots
