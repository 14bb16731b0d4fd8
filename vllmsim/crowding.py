# -*- test-case-name: tests.test_crowding -*-
"""Room for connections: as much as the limit of open files leaves when everything else has what it needs.

When it is taken, new clients wait in the system's queue until others have left. They would be dropped else, and files
that the server needs could not be opened. The limit is raised first, as far as it may be, which vLLM does too.
"""

import os
import resource
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IReactorTime,
    IReadDescriptor,
    IStreamServerEndpoint,
)
from twisted.logger import Logger
from zope.interface import implementer

_WANTED: Final = 65_535
"""The limit that vLLM asks for."""
_SPARE: Final = 128
"""Descriptors that are kept for files that are opened later; a quarter of all where there are few."""
_PAUSE: Final = 0.25
"""Seconds between two looks whether there is room again."""
_SILENCE: Final = 60.0
"""Seconds between two warnings."""


def raised_limit() -> int:
    """Raise the limit of open files as far as this process may, and tell what it is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED if hard == resource.RLIM_INFINITY else min(_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return soft if soft != resource.RLIM_INFINITY else _WANTED


def opened() -> int:
    """Count the descriptors that are open."""
    try:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - it is no more than a number
    except OSError:
        return 32


@define(eq=False)
class Room:
    """The room that a process has for connections.

    :param limit: how many descriptors may be open.
    :param opened: counts those that are, which takes a while where there are many.
    """

    _log: ClassVar[Logger] = Logger()

    _clock: IReactorTime
    _limit: int = field(factory=raised_limit)
    _opened: Callable[[], int] = opened
    _budget: int = field(init=False, default=0)
    """How many connections may be taken before the next count."""
    _waiting: list[Any] = field(init=False, factory=list)
    _silent: float | None = field(init=False, default=None)

    def bound(self, endpoint: IStreamServerEndpoint) -> IStreamServerEndpoint:
        """Make of an endpoint one that takes no connection for which there is no room."""
        return _Bounded(endpoint, self._bind)

    def _bind(self, listening: IListeningPort) -> IListeningPort:
        port: Any = getattr(listening, "inner", listening)
        if IReadDescriptor.providedBy(port):
            self._put_before(port)
        return listening

    def _put_before(self, port: Any) -> None:
        port.doRead = partial(self._accept, port, port.doRead)

    def _look(self) -> int:
        """Tell how many descriptors are to be had, but for those that are kept."""
        return self._limit - min(_SPARE, self._limit // 4) - self._opened()

    def _accept(self, port: Any, accept: Callable[[], None]) -> None:
        """Take as many connections of a port as there is room for."""
        if self._budget < 1:
            # Something else may be opened meanwhile.
            self._budget = (self._look() + 1) // 2
        if self._budget > 0:
            port.numberAccepts = min(port.numberAccepts, self._budget)
            self._budget -= port.numberAccepts
            accept()
            return
        port.stopReading()
        if not self._waiting:
            self._clock.callLater(_PAUSE, self._resume)
        self._waiting.append(port)
        self._warn()

    def _resume(self) -> None:
        """Have ports take connections again, if there is room."""
        if self._look() < 1:
            self._clock.callLater(_PAUSE, self._resume)
            return
        waiting, self._waiting = self._waiting, []
        for port in waiting:
            if port.connected and not port.disconnecting:
                port.startReading()

    def _warn(self) -> None:
        now = self._clock.seconds()
        if self._silent is not None and now < self._silent:
            return
        self._silent = now + _SILENCE
        self._log.warn(
            "Clients wait until others leave: {count} files and connections are open, and there may be {limit}"
            " (RLIMIT_NOFILE). `ulimit -n`, or LimitNOFILE= in a unit of systemd's, raises the limit.",
            count=self._opened(), limit=self._limit,
        )  # fmt: skip


@implementer(IStreamServerEndpoint)
@define(eq=False)
class _Bounded:
    """An endpoint whose ports are bound to something.

    :param bind: sees each port.
    """

    _endpoint: IStreamServerEndpoint
    _bind: Callable[[IListeningPort], IListeningPort]

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen."""
        listening: Deferred[IListeningPort] = self._endpoint.listen(protocolFactory)
        return listening.addCallback(self._bind)
