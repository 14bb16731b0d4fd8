# -*- test-case-name: tests.processes.test_children -*-
"""Ranks as child processes, kept alive by :mod:`twisted.runner.procmon`.

A rank's process is ``python -m vllmsim.scripts.rank``, with six
descriptors: standard input has its assignment, and ends when the supervising process does, however that ends; what
comes out of standard output and error goes to the log, the events of the rank's own log as events (see
:mod:`vllmsim.logs.relay`) and everything else line by line; on descriptor 3 the rank says with a newline
that it listens, as services under s6 do; and on descriptors 4 and 5 it speaks with the supervisor about the
configuration: see :mod:`vllmsim.processes.wire`. Sockets that systemd has opened for a rank follow, and the rank finds
them as it would if systemd had started it: that counts descriptors from 3 on, so that those between have names too.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Final, Protocol

from attrs import define
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import (
    IDelayedCall,
    IProcessProtocol,
    IProcessTransport,
    IReactorProcess,
    IReactorTime,
)
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from twisted.runner.procmon import ProcessMonitor
from zope.interface import implementer

from vllmsim.interpreter import environment, python
from vllmsim.logs.relay import SEPARATOR, read_event
from vllmsim.processes.wire import ASKING, TOLD, Wire
from vllmsim.systemd import VARIABLES

_output = Logger("vllmsim.processes")

READY_DESCRIPTOR: Final = 3
"""Where a rank says that it listens."""
_OUTPUTS: Final = (1, 2)
_SAID: Final = (READY_DESCRIPTOR, ASKING)
_OWN_NAMES: Final = ("vllmsim-ready", "vllmsim-asking", "vllmsim-told")
"""What the descriptors before the sockets are called."""
_ADDRESSED: Final = ["/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "vllmsim"]
"""Tells a process that sockets are for it, whose number nobody knows before it is there."""
_EVENTS: Final = 1
_LONGEST_LINE: Final = 1 << 16
_LONGEST_EVENT: Final = 1 << 24
_SOON: Final = 5.0
"""A process that ends within so many seconds of its start is not started again at once."""
_LONGEST_DELAY: Final = 30.0
"""Most seconds that a rank waits to be started again. It is one at first, and doubles each time that it ends soon."""


class RankObserver(Protocol):
    """Who is told what becomes of the processes."""

    def begin(self, rank: int) -> tuple[bytes, Wire]:
        """A process of a rank is about to be started.

        :return: what it is told to be, and how it speaks with the supervisor.
        """

    def listening(self, rank: int) -> None:
        """A rank's process says that it listens."""

    def ended(self, rank: int, reason: Failure) -> None:
        """A rank's process has ended, and all that it said is in the log."""


class _Run(ProcessProtocol):
    """One run of a rank's process.

    :param assignment: what it is told.
    :param wire: how it speaks with the supervisor.
    :param monitored: what the process monitor believes to be the protocol.
    :param processes: is told what becomes of it.
    """

    def __init__(
        self, rank: int, assignment: bytes, wire: Wire, monitored: IProcessProtocol, processes: "RankProcesses"
    ) -> None:
        self._rank = rank
        self._assignment = assignment
        self._wire = wire
        self._monitored: Any = monitored
        self._processes = processes
        self._rests = dict.fromkeys(_OUTPUTS, b"")

    def connectionMade(self) -> None:
        """Tell the process which rank it is. Its standard input stays open."""
        assert self.transport is not None
        self._monitored.makeConnection(self.transport)
        self._processes.began(self._rank, self.transport)
        self.transport.write(self._assignment)
        self._wire.makeConnection(_Pipe(self.transport))

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Log whole lines, and keep the rest."""
        if childFD == READY_DESCRIPTOR:
            self._processes.listening(self._rank)
            return
        if childFD == ASKING:
            self._wire.dataReceived(data)
            return
        *lines, rest = (self._rests[childFD] + data).split(b"\n")
        for line in lines:
            self._say(childFD, line)
        if len(rest) > (_LONGEST_EVENT if SEPARATOR in rest else _LONGEST_LINE):
            self._say(childFD, rest)
            rest = b""
        self._rests[childFD] = rest

    def processEnded(self, reason: Failure) -> None:
        """Log what had no end, and tell everybody."""
        for descriptor, rest in self._rests.items():
            if rest:
                self._say(descriptor, rest)
        self._monitored.processEnded(reason)
        self._processes.ended(self._rank, reason)

    def _say(self, descriptor: int, line: bytes) -> None:
        """Log a line: an event as such, and what is none as text, also where a library has written without an end."""
        text, separator, told = line.partition(SEPARATOR)
        event = read_event(told, self._rank) if separator and descriptor == _EVENTS else None
        if event is None or text:
            level = LogLevel.info if descriptor == _EVENTS else LogLevel.error
            said = (line if event is None else text).decode("utf-8", "backslashreplace").rstrip("\r")
            _output.emit(level, "[rank {rank}] {text}", rank=self._rank, text=said)
        if event is not None:
            _output.observer(event)


@define(eq=False)
class _Pipe:
    """What a wire needs of the transport of a process.

    :param process: the transport.
    """

    _process: Any

    def write(self, data: bytes) -> None:
        """Write to the process. Harmless when it reads no more, as one that is about to end."""
        with suppress(KeyError):
            self._process.writeToChild(TOLD, data)

    def loseConnection(self) -> None:
        """Give up the process, which speaks another language; another one is started in its place."""
        self._process.signalProcess("KILL")


@implementer(IReactorProcess, IReactorTime)
class _Spawner:
    """A reactor for the process monitor, whose own protocol loses long lines and knows no further descriptors.

    :param wrap: makes the protocol to use in the place of the monitor's.
    :param passed: finds the descriptors of the sockets that the process of such a protocol gets.
    """

    def __init__(
        self, reactor: Any, wrap: Callable[[Any], IProcessProtocol], passed: Callable[[Any], Iterable[int]]
    ) -> None:
        self._reactor = reactor
        self._wrap = wrap
        self._passed = passed

    def seconds(self) -> float:
        """Tell the time."""
        return float(self._reactor.seconds())

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kwargs: object) -> IDelayedCall:  # noqa: A002
        """Call later."""
        later: IDelayedCall = self._reactor.callLater(delay, callable, *args, **kwargs)
        return later

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        """List what will be called."""
        calls: Sequence[IDelayedCall] = self._reactor.getDelayedCalls()
        return calls

    def spawnProcess(  # noqa: PLR0917 - as the interface has it
        self,
        processProtocol: IProcessProtocol,
        executable: bytes | str,
        args: Sequence[bytes | str],
        env: Mapping[Any, Any] | None = None,
        path: bytes | str | None = None,
        uid: int | None = None,
        gid: int | None = None,
        usePTY: bool = False,  # noqa: FBT002
        childFDs: Mapping[int, int | str] | None = None,
    ) -> IProcessTransport:
        """Start a process with some descriptors more."""
        descriptors: dict[int, int | str] = {0: "w", **dict.fromkeys((*_OUTPUTS, *_SAID), "r"), TOLD: "w"}
        descriptors |= enumerate(self._passed(processProtocol), len(descriptors))
        transport: IProcessTransport = self._reactor.spawnProcess(
            self._wrap(processProtocol), executable, args, env, path, uid, gid, usePTY, descriptors
        )
        return transport


class RankProcesses(Service):
    """Runs a process for each rank, and starts it again when it ends.

    :param reactor: provides time and processes.
    :param ranks: their numbers.
    :param kill_time: seconds between asking a process to end and killing it.
    :param observer: is told what becomes of them, and what they are to be told.
    :param sockets: those that systemd has opened for a rank: its number, and their descriptors by their names.
    """

    _log: ClassVar[Logger] = Logger()

    def __init__(
        self,
        reactor: Any,
        ranks: Iterable[int],
        kill_time: float,
        observer: RankObserver,
        sockets: Mapping[int, Mapping[str, int]] | None = None,
    ) -> None:
        self._observer = observer
        passed = sockets or {}
        self._alive: dict[int, IProcessTransport] = {}
        self._listening: set[int] = set()
        self._stopped: Deferred[None] | None = None
        monitor: Any = ProcessMonitor(
            _Spawner(reactor, self._run, lambda monitored: passed.get(int(monitored.name), {}).values())
        )
        monitor.killTime = kill_time
        monitor.threshold = _SOON
        monitor.maxRestartDelay = _LONGEST_DELAY
        self._monitor: ProcessMonitor = monitor
        for rank in ranks:
            names = list(passed.get(rank, ()))
            command = [*python("vllmsim.scripts.rank"), str(rank)]
            monitor.addProcess(str(rank), _ADDRESSED + command if names else command, env=_environment(names))

    def startService(self) -> None:
        """Start all processes."""
        super().startService()
        self._monitor.startService()

    def stopService(self) -> Deferred[None]:
        """Ask all processes to end; kill what has not in time.

        :return: fires when none is left.
        """
        super().stopService()
        self._monitor.stopService()
        if not self._alive:
            return succeed(None)
        self._stopped = Deferred()
        return self._stopped

    def hang_up(self) -> None:
        """Send SIGHUP to those that listen: the others have not learnt yet what it means, and would end."""
        for rank in self._listening:
            with suppress(ProcessExitedAlready):
                self._alive[rank].signalProcess("HUP")

    def _run(self, monitored: Any) -> IProcessProtocol:
        rank = int(monitored.name)
        return _Run(rank, *self._observer.begin(rank), monitored, self)

    def began(self, rank: int, transport: IProcessTransport) -> None:
        """Learn that a process is there."""
        self._alive[rank] = transport
        self._log.info("Rank {rank} is process {pid}.", rank=rank, pid=transport.pid)

    def listening(self, rank: int) -> None:
        """Learn that one listens."""
        self._listening.add(rank)
        self._observer.listening(rank)

    def ended(self, rank: int, reason: Failure) -> None:
        """Learn that one has ended."""
        self._alive.pop(rank, None)
        self._listening.discard(rank)
        self._observer.ended(rank, reason)
        if self._stopped is not None and not self._alive:
            stopped, self._stopped = self._stopped, None
            stopped.callback(None)


def _environment(sockets: Sequence[str]) -> dict[str, str]:
    """Have processes import what this one does, however it was started; what systemd said is for this one alone.

    :param sockets: the names of those that the process gets.
    """
    told = {name: value for name, value in environment().items() if name not in VARIABLES}
    if sockets:
        names = [*_OWN_NAMES, *sockets]
        told |= {"LISTEN_FDS": str(len(names)), "LISTEN_FDNAMES": ":".join(names)}
    return told
