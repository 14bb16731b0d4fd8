# -*- test-case-name: tests.clocks.test_clocks -*-
"""The clocks that a rank goes by, and which they are."""

import time
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

from attrs import Factory, frozen
from twisted.internet.interfaces import IReactorTime

from vllmsim.clocks.scaled import ScaledClock
from vllmsim.clocks.simulated import REAL
from vllmsim.clocks.standstill import Standstill
from vllmsim.clocks.virtual import VirtualClock

VIRTUAL_EPOCH: Final = 1_767_225_600.0
"""When virtual time begins, in seconds since the epoch: the year 2026. It is always the same, so that answers are."""

ClockKind: TypeAlias = Literal["real", "virtual"]


@frozen(eq=False)
class Clocks:
    """The times of a rank.

    :param simulated: that of what is simulated: the model, queues, limits, what is told of them, and their journal.
    :param real: the machine's: that of connections, threads, neighbours, watchdogs and whoever waits for an answer.
    :param background: simulated time of what goes on whether there are requests or not.
    :param epoch: tells simulated seconds since the epoch.
    :param standstill: has what goes on in real time and must end before simulated time goes on, if that can wait.
    """

    simulated: IReactorTime
    real: IReactorTime
    background: IReactorTime
    epoch: Callable[[], float]
    standstill: Standstill = Factory(Standstill)

    @classmethod
    def same(cls, clock: IReactorTime, epoch: Callable[[], float] = time.time) -> "Clocks":
        """Have all time be that of one clock."""
        return cls(clock, clock, clock, epoch)


def make_clocks(kind: ClockKind, scale: float, reactor: IReactorTime, epoch: Callable[[], float] = time.time) -> Clocks:
    """Make the clocks of all ranks of a process.

    :param kind: whether simulated time goes on by itself.
    :param scale: how fast it goes then; 1 for as fast as the machine's.
    :param reactor: the machine's time.
    :param epoch: tells the machine's seconds since the epoch.
    """
    if kind == "virtual":
        virtual = VirtualClock(reactor)
        return Clocks(virtual, reactor, virtual.background, lambda: VIRTUAL_EPOCH + virtual.seconds())
    if scale == REAL:
        return Clocks.same(reactor, epoch)
    scaled, begun = ScaledClock(reactor, scale), epoch()
    return Clocks(scaled, reactor, scaled, lambda: begun + scaled.seconds())
