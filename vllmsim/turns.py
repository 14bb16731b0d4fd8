# -*- test-case-name: tests.test_turns -*-
"""How long work may go on before other events are let in."""

from typing import Final

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

TURN: Final = 0.002
"""Seconds of work after which other events are let in."""


@define(eq=False)
class Turn:
    """The time of one who works on the reactor, step by step, beginning now."""

    _clock: IReactorTime
    _begun: float = field(init=False)

    @_begun.default
    def _begin(self) -> float:
        return self._clock.seconds()

    async def step(self) -> None:
        """End a step; when the turn has been long enough, wait for the next."""
        if self._clock.seconds() - self._begun > TURN:
            await deferLater(self._clock, 0)
            self._begun = self._clock.seconds()
