# -*- test-case-name: tests.assembly.test_joining -*-
"""What a port leads to."""

from collections.abc import Callable, Mapping
from typing import Any

from attrs import define

from vllmsim.interfaces import IAdapterRegistry, IBlockEventLog, IHealth, ILoads, IPooler, IRankControl, ISimulator
from vllmsim.metrics.exposition import Source

Sources = Callable[[], Mapping[int, Mapping[str, Any]]]


@define(eq=False)
class Doors:
    """One rank, or several.

    :param event_sources: tells by number where ranks publish their KV events.
    :param metrics: writes what is counted there.
    :param event_logs: finds by number what has their events for those who read them here; made for the first who asks.
    :param loads: finds out who tells how much there is to do; made for the first who asks.
    """

    simulator: ISimulator
    pooler: IPooler
    control: IRankControl
    adapters: IAdapterRegistry
    health: IHealth
    event_sources: Sources
    event_logs: Callable[[], Mapping[int, IBlockEventLog]]
    metrics: Source
    loads: Callable[[], ILoads]
