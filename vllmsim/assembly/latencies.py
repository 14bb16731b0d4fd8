# -*- test-case-name: tests.assembly.test_latencies -*-
"""What takes the time that a configuration says: our calculators, or a plugin's model."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from vllmsim.config.pluginnames import CALCULATORS
from vllmsim.config.schema import Configuration
from vllmsim.interfaces import ILatencyModel
from vllmsim.latency import LatencyModel
from vllmsim.randomness import Randomness

if TYPE_CHECKING:
    from vllmsim.assembly.keeping import KeptLatency


def make_latencies(
    number: int, clock: IReactorTime, defer_to_thread: Callable[..., Deferred[Any]], randomness: Randomness
) -> Callable[[Configuration], ILatencyModel]:
    """Make what makes the latency models of a rank, one configuration after the other.

    :param number: which rank it is, from 0.
    :return: takes a configuration; it raises :class:`SystemExit` when the first wants what cannot be had.
    """
    latest: ILatencyModel | None = None
    kept: KeptLatency | None = None

    def latency(configuration: Configuration) -> ILatencyModel:
        nonlocal latest, kept
        if configuration.latency_calculator in CALCULATORS:
            latest = LatencyModel(configuration)
            if kept is not None:
                kept.forget()
            return latest
        if kept is None:
            from vllmsim.assembly.keeping import KeptLatency  # noqa: PLC0415 - few servers have plugins

            kept = KeptLatency(number, clock, defer_to_thread, randomness)
        latest = kept.model(configuration, latest)
        return latest

    return latency
