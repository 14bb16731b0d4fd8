# -*- test-case-name: tests.scheduling.test_watchdog -*-
"""Notices a pacer that has stopped, and sets it going again.

A pacer that nothing wakes any more says nothing of it: its timer was lost, or a delayed call, or a reactor has dropped
what it read. All streams of the rank would stand still for ever. So it is looked at every second, which costs nothing
per token: a tick begins with what is due first, so that whatever is due at one look is not at the next.
"""

from collections.abc import Callable
from typing import ClassVar, Final

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from vllmsim.scheduling.pacing import TokenPacer

INTERVAL: Final = 1.0
"""Seconds between two looks. A pacer that has stopped goes on after twice that at the latest."""


@define(eq=False)
class PacerWatchdog:
    """Looks at a pacer.

    :param clock: where time comes from.
    :param restarted: called for each time that it was set going again.
    """

    _log: ClassVar[Logger] = Logger()

    _clock: IReactorTime
    _pacer: TokenPacer
    _restarted: Callable[[], object]
    _loop: LoopingCall = field(init=False)
    _seen: object | None = field(init=False, default=None)
    _doubt: IDelayedCall | None = field(init=False, default=None)

    @_loop.default
    def _make_loop(self) -> LoopingCall:
        loop = LoopingCall(self._look)
        loop.clock = self._clock
        return loop

    def start(self) -> None:
        """Begin to look."""
        self._loop.start(INTERVAL, now=False)

    def stop(self) -> None:
        """Look no more. Harmless when it does not."""
        if self._loop.running:
            self._loop.stop()
        if self._doubt is not None:
            self._doubt.cancel()
            self._doubt = None

    def _look(self) -> None:
        overdue = self._pacer.overdue()
        if overdue is None or overdue is not self._seen:
            self._seen = overdue
        elif self._doubt is None:
            # If nothing was read since the last look, as when the process was stopped, the timer may have come unseen.
            self._doubt = self._clock.callLater(0, self._look_again)

    def _look_again(self) -> None:
        self._doubt = None
        if self._pacer.overdue() is not self._seen:
            return
        self._seen = None
        self._log.critical(
            "The pacer has stopped: nothing was emitted for {seconds:g} s, though tokens are due. It is started again.",
            seconds=INTERVAL,
        )
        self._restarted()
        try:
            self._pacer.restart()
        except Exception:  # noqa: BLE001 - the next look tries once more
            self._log.failure("The pacer cannot be started.")
