# -*- test-case-name: tests.systemd.test_notifying -*-
"""Telling systemd how the daemon is, as sd_notify(3) does.

Whoever starts a service may name a socket in ``NOTIFY_SOCKET``: a path, or behind ``@`` an abstract name. Each datagram
that is sent there has lines, all of one moment::

    READY=1                    it serves: every rank listens
    RELOADING=1                it reads its configuration again, since
    MONOTONIC_USEC=1234567     this time, until it says READY=1 once more
    STOPPING=1                 it begins to stop
    STATUS=Serving ...         what people read in "systemctl status"
    WATCHDOG=1                 it is alive; with WATCHDOG_USEC it is started again if it says so less often
    EXTEND_TIMEOUT_USEC=...    what is under way may take so long from now on

Life is told of by the reactor, so that a reactor that is stuck is noticed.
"""

import os
import re
import socket
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from attrs import define, field
from twisted.application.service import IServiceCollection, Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from vllmsim.announcing import Announcer, Load, Reload
from vllmsim.config.schema import Configuration

INTERVAL: Final = 5.0
_PATIENCE: Final = 30.0
"""Seconds for which systemd is asked to wait, while the daemon gets ready and still lives."""
_MARGIN: Final = 25.0
"""Seconds that a stop may take beyond those that requests may: clients read, and processes end."""
_USECS: Final = re.compile("[0-9]{1,18}")
_SHORTEST_LEASE: Final = 0.02
"""Seconds of the watchdog below which the daemon would do nothing else than say that it lives."""
_MOST_UNSENT: Final = 16


@define(eq=False)
class NotifySocket:
    """The socket, which is opened when something is sent first.

    :param address: as ``NOTIFY_SOCKET`` has it.
    """

    _log: ClassVar[Logger] = Logger()

    _address: str
    _socket: socket.socket | None = None
    _unsent: deque[bytes] = field(init=False, factory=lambda: deque(maxlen=_MOST_UNSENT))
    _warned: bool = field(init=False, default=False)

    def send(self, *lines: str) -> None:
        """Send lines, behind those that there was no room for. What keeps them from being sent is logged, once.

        :param lines: none has an end.
        """
        if lines:
            self._unsent.append("\n".join(lines).encode("utf-8", "backslashreplace"))
        try:
            while self._unsent:
                self._open().sendto(self._unsent[0], self._target())
                self._unsent.popleft()
        except BlockingIOError:
            # It reads slowly, and will read more.
            return
        except (OSError, ValueError) as error:
            self._unsent.clear()
            if not self._warned:
                self._warned = True
                why = getattr(error, "strerror", None) or error
                self._log.warn(
                    "Nobody can be told how the server is at {address}: {why}", address=self._address, why=why
                )

    def close(self) -> None:
        """Close it. Harmless when it is not open."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _open(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        return self._socket

    def _target(self) -> str:
        if self._address[:1] not in {"/", "@"}:
            raise ValueError("it is neither a path nor an abstract name")
        return self._address.replace("@", "\0", 1) if self._address.startswith("@") else self._address


class SystemdService(Service, Announcer):
    """Tells systemd.

    :param out: where to.
    :param environ: the environment, which says whether it wants signs of life.
    :param configuration: says what is served.
    :param reactor: provides time, and says when it ends.
    """

    _log: ClassVar[Logger] = Logger()

    interval = INTERVAL

    def __init__(
        self, out: NotifySocket, environ: Mapping[str, str], configuration: Configuration, reactor: Any
    ) -> None:
        self._out = out
        self._environ = environ
        self._model = configuration.served_names[0]
        self._ranks = len(configuration.ranks)
        self._stop_time = configuration.shutdown_timeout + _MARGIN
        self._reactor = reactor
        self._loops: list[LoopingCall] = []
        self._load: Callable[[], Load] | None = None
        self._getting = ""
        self._reason = ""
        self._reloads = 0
        self._refused = False
        self._told = ""

    def join(self, services: IServiceCollection) -> None:
        """Start and stop with the daemon."""
        self.setServiceParent(services)

    def startService(self) -> None:
        """Begin to tell: from the process that stays, when others were left behind."""
        super().startService()
        self._every(INTERVAL, self._look)
        lease = self._lease()
        if lease:
            self._every(lease / 2, lambda: self._out.send("WATCHDOG=1"))
        self._reactor.addSystemEventTrigger("before", "shutdown", self.stopping, "")
        # The daemon must seem alive until all of it has stopped.
        self._reactor.addSystemEventTrigger("during", "shutdown", self.end)

    def _every(self, seconds: float, tell: Callable[[], object]) -> None:
        loop = LoopingCall(tell)
        loop.clock = self._reactor
        self._loops.append(loop)
        loop.start(seconds).addErrback(
            lambda reason: self._log.failure("systemd hears no more how the server is.", reason)
        )

    def _lease(self) -> float:
        """Find for how many seconds systemd believes that the daemon is alive; 0 if it does not ask."""
        told, pid = self._environ.get("WATCHDOG_USEC", ""), self._environ.get("WATCHDOG_PID")
        if not re.fullmatch(_USECS, told) or pid not in {None, "", str(os.getpid())}:
            return 0.0
        return max(int(told) / 1e6, _SHORTEST_LEASE) if int(told) else 0.0

    def end(self) -> None:
        """Tell no more."""
        for loop in self._loops:
            if loop.running:
                loop.stop()
        self._out.close()

    def preparing(self, what: str) -> None:
        """Tell what is got first."""
        self._getting = what

    def ready(self, load: Callable[[], Load]) -> None:
        """Tell that all ranks listen. Only the first time counts."""
        if self._load is None:
            self._load = load
            self._getting = ""
            if not self._reason:
                self._out.send("READY=1", self._status())

    def reload(self, reload: Reload, who: str) -> Deferred[bool]:
        """Have the configuration read again, and tell when that begins and ends."""
        if self._load is not None and not self._reason:
            now = int(self._reactor.seconds() * 1e6)
            self._reloads += 1
            self._told = "Reading the configuration again"
            self._out.send("RELOADING=1", f"MONOTONIC_USEC={now}", f"STATUS={self._told}")
            return reload(who).addBoth(self._reloaded)
        return reload(who)

    def _reloaded(self, result: Any) -> Any:
        self._reloads -= 1
        self._refused = result is not True
        if not self._reloads and not self._reason:
            self._out.send("READY=1", self._status())
        return result

    def stopping(self, reason: str) -> None:
        """Tell that the daemon stops. Only the first reason counts."""
        if not self._reason:
            self._reason = reason or "by itself"
            self._out.send("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(self._stop_time * 1e6)}", self._status())

    def _look(self) -> None:
        """Tell what there is to do if that has changed, and what was not sent before."""
        if self._getting:
            self._out.send(f"EXTEND_TIMEOUT_USEC={int(_PATIENCE * 1e6)}", self._status())
        elif (self._load is None or self._reloads) and not self._reason:
            self._out.send()
        else:
            before = self._told
            status = self._status()
            self._out.send(*[status] if self._told != before else [])

    def _status(self) -> str:
        self._told = " ".join(self._describe().split())
        return f"STATUS={self._told}"

    def _describe(self) -> str:
        if self._getting:
            return f"Getting {self._getting}"
        load = self._load() if self._load is not None else Load()
        doing = f"{load.running} requests running, {load.waiting} waiting"
        if self._reason:
            return f"Stopping {self._reason}: {doing}"
        ranks = f"{self._ranks} rank{'s' if self._ranks > 1 else ''}"
        if load.ranks < self._ranks:
            ranks = f"{load.ranks} of {ranks}"
        refused = "; the configuration was read again and refused, see the log" if self._refused else ""
        return f"Serving {self._model} on {ranks}: {doing}{refused}"


def announcer(environ: Mapping[str, str], configuration: Configuration, reactor: Any) -> SystemdService:
    """Make what tells systemd.

    :param environ: the environment, which names the socket.
    """
    return SystemdService(NotifySocket(environ["NOTIFY_SOCKET"]), environ, configuration, reactor)
