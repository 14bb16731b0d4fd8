# -*- test-case-name: tests.clocks.test_scaled -*-
"""What a clock is whose seconds are not the machine's."""

from typing import Final

from twisted.internet.interfaces import IReactorTime

REAL: Final = 1.0
"""The scale of the machine's own time."""


class SimulatedClock:
    """A clock whose seconds are not the machine's; what is one provides :class:`IReactorTime` too."""

    __slots__ = ()

    @property
    def scale(self) -> float:
        """How many of its seconds pass in one of the machine's; 0 where none passes by itself."""
        raise NotImplementedError

    @property
    def work(self) -> IReactorTime:
        """What tells how long work may hold the reactor."""
        raise NotImplementedError


def work_clock(clock: IReactorTime) -> IReactorTime:
    """Find what tells how long work may hold the reactor, for those who otherwise go by another clock."""
    return clock.work if isinstance(clock, SimulatedClock) else clock


def scale_of(clock: IReactorTime) -> float:
    """Tell how many of a clock's seconds pass in one of the machine's."""
    return clock.scale if isinstance(clock, SimulatedClock) else REAL
