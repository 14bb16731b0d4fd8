# -*- test-case-name: tests.processes.test_supervisor -*-
"""The data-parallel supervisor as a service: ranks in processes, and a port that tells how they are.

A rank that ends is started again. One that fails before it has ever listened ends the server instead, as what keeps
it from that, such as a port in use, is for the operator to put right.
"""

import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ReactorNotRunning
from twisted.logger import Logger
from twisted.python.failure import Failure

from vllmsim.announcing import Announcer
from vllmsim.config.schema import Configuration
from vllmsim.identity import supervisor_endpoint
from vllmsim.leaving import leave_with
from vllmsim.listening import Listener
from vllmsim.processes.assignment import Assignment
from vllmsim.processes.authority import ConfigurationAuthority
from vllmsim.processes.children import RankProcesses
from vllmsim.processes.handing import InheritedSockets
from vllmsim.processes.health import Pace, RankHealth
from vllmsim.processes.introducing import introduction
from vllmsim.processes.probing import client_endpoint, probe
from vllmsim.processes.site import SupervisorSite
from vllmsim.processes.wire import Wire

_KILL_MARGIN: Final = 15.0
"""Seconds beyond its shutdown timeout that a rank may take to end; its clients have 5 of them to read."""


class Supervisor(Service):
    """Runs the ranks of a server, each in a process.

    :param authority: knows what each rank's configuration is.
    :param seed: the daemon's seed.
    :param reactor: provides time, sockets and processes; is stopped when a rank cannot start.
    :param leave: has this process end with a status when the reactor has stopped.
    :param announcer: is told when all ranks listen, and what they have to do.
    :raises vllmsim.listening.StartError: when there is no place for the supervisor's port.
    """

    _log: ClassVar[Logger] = Logger()

    def __init__(
        self,
        configuration: Configuration,
        authority: ConfigurationAuthority,
        seed: int,
        reactor: Any,
        leave: Callable[[int], object] = leave_with,
        announcer: Announcer | None = None,
    ) -> None:
        c = configuration
        self._reactor = reactor
        self._announcer = announcer or Announcer()
        self._authority = authority
        self._seed = seed
        self._leave = leave
        self._ranks = c.ranks
        self._listened: set[int] = set()
        self._failed = False
        sockets = InheritedSockets(c, reactor)
        endpoints = {rank: sockets.endpoint(rank) for rank in c.ranks}
        identity = introduction(endpoints.values(), c.ssl_keyfile_password, reactor)
        self._trusted = b"" if identity is None else identity.pem
        probes = {rank: partial(probe, client_endpoint(endpoints[rank], reactor, identity)) for rank in c.ranks}
        pace = Pace(
            c.dp_supervisor_probe_interval_s, c.dp_supervisor_probe_timeout_s, c.dp_supervisor_probe_failure_threshold
        )
        self._health = RankHealth(reactor, probes, pace, self._began)
        self._processes = RankProcesses(reactor, c.ranks, c.shutdown_timeout + _KILL_MARGIN, self, sockets.descriptors)
        site = SupervisorSite(lambda: self._health.well, reactor)
        self._listener = Listener(supervisor_endpoint(c), site, reactor)

    def privilegedStartService(self) -> None:
        """Listen.

        :raises vllmsim.listening.StartError: when that is not possible.
        """
        super().privilegedStartService()
        self._listener.privilegedStartService()

    def startService(self) -> None:
        """Start the ranks."""
        super().startService()
        self._listener.startService()
        self._processes.startService()

    def stopService(self) -> Deferred[None]:
        """Be well no more, have all ranks finish what they do, and close the port when they have.

        :return: fires when no process is left.
        """
        super().stopService()
        self._health.close()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self._processes.stopService()
        await self._listener.stopService()

    def reload(self, who: str) -> None:
        """Have all ranks read their certificates again, if they have any.

        :param who: says in their logs that this was by SIGHUP, which they are sent too.
        """
        self._processes.hang_up()

    def _began(self) -> None:
        # Scripts that start vLLM wait for these words.
        self._log.info("Application startup complete.")

    def begin(self, rank: int) -> tuple[bytes, Wire]:
        """Learn that a rank's process is about to be started, and find what it is told: what holds now."""
        wire = self._authority.link(rank)
        current, interval = self._authority.current(rank), self._announcer.interval
        return Assignment(rank, self._seed, current, interval, self._trusted).to_bytes(), wire

    def listening(self, rank: int) -> None:
        """Learn that a rank listens."""
        self._authority.listening(rank)
        self._listened.add(rank)
        self._health.watch(rank)
        if self._listened >= set(self._ranks):
            self._announcer.ready(self._authority.load)

    def ended(self, rank: int, reason: Failure) -> None:
        """Learn that a rank's process has ended."""
        self._health.forget(rank)
        self._authority.unlink(rank)
        how = _describe(reason)
        if not self.running:
            self._log.info("Rank {rank} ended {how}.", rank=rank, how=how)
        elif rank in self._listened or reason.check(ProcessDone):
            self._log.warn("Rank {rank} ended {how}, and is started again.", rank=rank, how=how)
        elif not self._failed:
            self._failed = True
            self._log.critical("Rank {rank} ended {how} before it could listen. The server stops.", rank=rank, how=how)
            self._leave(1)
            with suppress(ReactorNotRunning):
                self._reactor.stop()


def _describe(reason: Failure) -> str:
    """Say how a process ended."""
    number = getattr(reason.value, "signal", None)
    if number is not None:
        return f"by {signal.Signals(number).name}"
    return f"with status {getattr(reason.value, 'exitCode', None) or 0}"
