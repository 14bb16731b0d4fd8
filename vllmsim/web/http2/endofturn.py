# -*- test-case-name: tests.web.http2.test_endofturn -*-
"""The end of a turn of the reactor, for all connections together.

A connection that is written to has its bytes sent when the turn is over. Where many connections have one token each in
a turn, a timer for each of them costs as much as what they send.
"""

from collections.abc import Callable
from typing import ClassVar

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger


@define(eq=False)
class EndOfTurn:
    """Does what was put off until a turn is over."""

    _log: ClassVar[Logger] = Logger()

    _clock: IReactorTime
    _put_off: list[Callable[[], None]] = field(init=False, factory=list)

    def do(self, work: Callable[[], None]) -> None:
        """Have something done when this turn is over; what is put off while others are done is for the next."""
        if not self._put_off:
            self._clock.callLater(0, self._come)
        self._put_off.append(work)

    def _come(self) -> None:
        put_off, self._put_off = self._put_off, []
        for work in put_off:
            try:
                work()
            except Exception:  # noqa: BLE001 - what breaks for one connection must not keep the others waiting
                self._log.failure("While a turn ended")
