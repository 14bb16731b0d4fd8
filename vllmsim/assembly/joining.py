# -*- test-case-name: tests.assembly.test_joining -*-
"""The ranks of one process, which know each other at their doors.

Each has a port of its own, where requests may name another rank; or all have one port, and the server balances among
them. A rank that is alone needs none of this.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import define, evolve, field

from vllmsim.assembly.doors import Doors
from vllmsim.inference import RankLoad
from vllmsim.interfaces import (
    IAdapterRegistry,
    IBlockEventLog,
    IHealth,
    ILoads,
    IModelCatalogue,
    IPooler,
    IRankControl,
    ISimulator,
)
from vllmsim.metrics.exposition import Source
from vllmsim.metrics.joined import JoinedSource
from vllmsim.parallel.balancing import BalancedPooler, BalancedSimulator, RankBalancer
from vllmsim.parallel.control import JointAdapters, JointControl, JointHealth
from vllmsim.parallel.pinning import Behaviours, PinnedSimulator


@define(eq=False)
class RankGroup:
    """Ranks that are built one after the other, and whose doors may lead to those that come later.

    :param numbers: the ranks, at least two.
    :param balances: whether they have one port.
    """

    numbers: Sequence[int]
    balances: bool
    _own: dict[int, Doors] = field(init=False, factory=dict)
    _simulators: dict[int, ISimulator] = field(init=False, factory=dict)
    _poolers: dict[int, IPooler] = field(init=False, factory=dict)
    _loads: dict[int, Callable[[], RankLoad]] = field(init=False, factory=dict)
    _models: dict[int, IModelCatalogue] = field(init=False, factory=dict)
    _controls: list[IRankControl] = field(init=False, factory=list)
    _adapters: list[IAdapterRegistry] = field(init=False, factory=list)
    _healths: list[IHealth] = field(init=False, factory=list)
    _metrics: list[Source] = field(init=False, factory=list)
    _loads_of: list[Callable[[], ILoads]] = field(init=False, factory=list)
    _behaviours: dict[int, Callable[[], object]] = field(init=False, factory=dict)
    _balancer: RankBalancer = field(init=False)
    _joint: Doors = field(init=False)

    @_balancer.default
    def _make_balancer(self) -> RankBalancer:
        return RankBalancer(self._loads)

    @_joint.default
    def _join_all(self) -> Doors:
        balancer = self._balancer
        return Doors(
            BalancedSimulator(self.numbers[0], balancer, self._simulators, Behaviours(self._behaviours)),
            BalancedPooler(self.numbers[0], balancer, self._poolers, Behaviours(self._behaviours)),
            JointControl(self._controls),
            JointAdapters(self._adapters),
            JointHealth(self._healths),
            self._event_sources,
            self._all_event_logs,
            JoinedSource(self._metrics),
            self._join_loads,
        )

    def begin(self) -> None:
        """Balance as if no request had come yet."""
        self._balancer.begin()

    def join(
        self,
        number: int,
        own: Doors,
        models: IModelCatalogue,
        load: Callable[[], RankLoad],
        behaviour: Callable[[], object],
    ) -> Doors:
        """Add a rank.

        :param own: its own doors.
        :param models: which models it serves.
        :param load: tells how much it has to do.
        :param behaviour: tells how it serves requests that come now.
        :return: what its port leads to.
        """
        self._own[number] = own
        self._simulators[number], self._poolers[number] = own.simulator, own.pooler
        self._loads[number], self._models[number], self._behaviours[number] = load, models, behaviour
        self._controls.append(own.control)
        self._adapters.append(own.adapters)
        self._healths.append(own.health)
        self._metrics.append(own.metrics)
        self._loads_of.append(own.loads)
        if self.balances:
            return self._joint
        pinned = PinnedSimulator(number, self._simulators, self._models, Behaviours(self._behaviours))
        return evolve(own, simulator=pinned, event_sources=self._event_sources)

    def _join_loads(self) -> ILoads:
        from vllmsim.parallel.loads import JointLoads  # noqa: PLC0415 - few ask

        return JointLoads([loads() for loads in self._loads_of])

    def _all_event_logs(self) -> Mapping[int, IBlockEventLog]:
        return {number: log for doors in self._own.values() for number, log in doors.event_logs().items()}

    def _event_sources(self) -> Mapping[int, Mapping[str, Any]]:
        """Have every rank tell of itself, and any of those that are elsewhere."""
        told = {number: doors.event_sources() for number, doors in self._own.items()}
        everywhere = {rank: source for sources in told.values() for rank, source in sources.items()}
        return everywhere | {rank: sources[rank] for rank, sources in told.items() if rank in sources}
