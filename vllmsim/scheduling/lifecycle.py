# -*- test-case-name: tests.scheduling.test_lifecycle -*-
"""The life of a rank: created, loading, serving, draining, stopped."""

from collections.abc import Callable
from typing import Protocol

from attrs import frozen
from automat import TypeMachineBuilder
from twisted.internet.interfaces import IDelayedCall, IReactorTime


class RankLifecycle(Protocol):
    """What may happen to a rank, and what it may do now."""

    def start(self) -> None:
        """Begin to load the model that is not there."""

    def drain(self) -> None:
        """Take no more requests."""

    def stop(self) -> None:
        """Be done."""

    def ready(self) -> bool:
        """Tell whether a load balancer should send requests here."""

    def accepting(self) -> bool:
        """Tell whether a request that comes is served; while loading it is, as in llm-d-inference-sim."""

    def _loaded(self) -> None:
        """The model would be loaded now."""


@frozen
class _Core:
    clock: IReactorTime
    startup_duration: float


def _build() -> Callable[[_Core], RankLifecycle]:
    machine = TypeMachineBuilder(RankLifecycle, _Core)

    def begin_loading(lifecycle: RankLifecycle, core: _Core) -> IDelayedCall:
        return core.clock.callLater(core.startup_duration, lifecycle._loaded)  # noqa: SLF001 - a private input

    created = machine.state("Created")
    loading = machine.state("Loading", begin_loading)
    serving = machine.state("Serving")
    draining = machine.state("Draining")
    stopped = machine.state("Stopped")

    created.upon(RankLifecycle.start).to(loading).returns(None)
    loading.upon(RankLifecycle._loaded).to(serving).returns(None)  # noqa: SLF001
    serving.upon(RankLifecycle.drain).to(draining).returns(None)
    draining.upon(RankLifecycle.stop).to(stopped).returns(None)
    created.upon(RankLifecycle.stop).to(stopped).returns(None)

    @loading.upon(RankLifecycle.drain).to(draining)
    def give_up(_lifecycle: RankLifecycle, _core: _Core, loaded: IDelayedCall) -> None:
        loaded.cancel()

    for state in (created, loading, serving, draining, stopped):
        state.upon(RankLifecycle.ready).loop().returns(state is serving)
        state.upon(RankLifecycle.accepting).loop().returns(state is serving or state is loading)
    return machine.build()


_machine = _build()


def rank_lifecycle(clock: IReactorTime, startup_duration: float) -> RankLifecycle:
    """Make the lifecycle of one rank.

    :param startup_duration: seconds that loading takes.
    """
    return _machine(_Core(clock, startup_duration))
