# -*- test-case-name: tests.test_stopping -*-
"""Signals: one to stop ends the daemon in order and with status 0, a second at once; SIGHUP reloads its configuration.

Twisted's own handlers would stop the reactor in order too, but then end the process by the same signal.
"""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, ClassVar, Final

from twisted.application.service import Service
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class SignalService(Service):
    """Takes SIGTERM and SIGINT over from the reactor, and SIGHUP from the system, which would end the process.

    :param reactor: is stopped by the first signal.
    :param leave: ends the process with a status, by the second; without it further signals change nothing.
    :param reload: is called for each SIGHUP, with who asks; without it that changes nothing.
    :param stopping: is told why, before the reactor stops.
    """

    _log: ClassVar[Logger] = Logger()

    def __init__(
        self,
        reactor: Any,
        leave: Callable[[int], Any] | None = os._exit,
        reload: Callable[[str], Any] | None = None,
        stopping: Callable[[str], object] | None = None,
    ) -> None:
        self._reactor = reactor
        self._leave = leave
        self._reload = reload
        self._tell = stopping
        self._stopping = False

    def startService(self) -> None:
        """Take the signals over once the reactor has installed its own handlers."""
        super().startService()
        self._reactor.callWhenRunning(self._install)

    def _install(self) -> None:
        for number in _SIGNALS:
            signal.signal(number, self._received)
        signal.signal(signal.SIGHUP, self._hung_up)

    def _hung_up(self, _number: int, _frame: FrameType | None) -> None:
        if self._reload is not None and not self._stopping:
            self._reactor.callFromThread(self._reload, "SIGHUP")

    def _received(self, number: int, _frame: FrameType | None) -> None:
        if self._stopping:
            if self._leave is not None:
                self._leave(1)
            return
        self._stopping = True
        self._reactor.callFromThread(self._stop, signal.Signals(number).name)

    def _stop(self, name: str) -> None:
        if self._tell is not None:
            self._tell(f"after {name}")
        more = "A second signal ends at once." if self._leave is not None else "Further signals change nothing."
        self._log.info("Received {name}: finishing what runs. {more}", name=name, more=more)
        with suppress(ReactorNotRunning):
            self._reactor.stop()
