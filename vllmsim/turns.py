# -*- test-case-name: tests.test_turns -*-
"""How long work may go on before other events are let in, and when all that has come is read.

Work takes the machine's time, also where simulated time goes faster.
"""

from collections.abc import Callable
from typing import Any, Final

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from vllmsim.clocks.simulated import work_clock

TURN: Final = 0.002
"""Seconds of work after which other events are let in."""


@define(eq=False)
class Turn:
    """The time of one who works on the reactor, step by step, beginning now."""

    _clock: IReactorTime = field(converter=work_clock)
    _begun: float = field(init=False)

    @_begun.default
    def _begin(self) -> float:
        return self._clock.seconds()

    async def step(self) -> None:
        """End a step; when the turn has been long enough, wait for the next."""
        if self._clock.seconds() - self._begun > TURN:
            await deferLater(self._clock, 0)
            self._begun = self._clock.seconds()


@define(eq=False)
class SharedTurn:
    """The time of several who work on the reactor, and may all be woken at once: together they have one turn."""

    _clock: IReactorTime = field(converter=work_clock)
    _spent: float = field(init=False, default=0.0)

    async def enter(self) -> None:
        """Begin a step, when the others have left time for it."""
        while self._spent > TURN:
            await deferLater(self._clock, 0)

    def leave(self, begun: float) -> None:
        """End a step.

        :param begun: when it began, by the clock.
        """
        spent = self._clock.seconds() - begun
        if spent > 0:
            if not self._spent:
                self._clock.callLater(0, self._renew)
            self._spent += spent

    def _renew(self) -> None:
        self._spent = 0.0


def when_read(clock: IReactorTime, function: Callable[..., Any], *arguments: Any) -> None:
    """Call a function when the reactor has read what has come so far, on each of its connections.

    A call that is due may come in the same turn, before the reactor reads. One that this makes comes behind it.
    """
    clock.callLater(0, clock.callLater, 0, function, *arguments)
