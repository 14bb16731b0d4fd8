"""A reactor whose processes are played by the test."""

from collections.abc import Mapping
from typing import Any

from attrs import define, field
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure


@define(eq=False)
class FakeProcess:
    """One process, seen from its parent.

    :param arguments: its command line.
    :param signals: those that it got.
    :param told: what was written to its standard input.
    :param heard: what was written to each of its further descriptors.
    """

    protocol: ProcessProtocol
    arguments: list[str]
    environment: Mapping[str, str]
    directory: str | None
    descriptors: Mapping[int, str]
    pid: int
    signals: list[str] = field(factory=list)
    told: bytes = b""
    heard: dict[int, bytes] = field(factory=dict)
    gone: bool = False

    def write(self, data: bytes) -> None:
        """Take what is written to it."""
        self.told += data

    def writeToChild(self, descriptor: int, data: bytes) -> None:
        """Take what is written to another descriptor."""
        self.heard[descriptor] = self.heard.get(descriptor, b"") + data

    def signalProcess(self, name: str) -> None:
        """Take a signal."""
        if self.gone:
            raise ProcessExitedAlready
        self.signals.append(name)

    def says(self, data: bytes, descriptor: int = 1) -> None:
        """Write to one of its descriptors."""
        self.protocol.childDataReceived(descriptor, data)

    def listens(self) -> None:
        """Say that it listens."""
        self.says(b"\n", 3)

    def ends(self, status: int | None = 0, signal: int | None = None) -> None:
        """End with a status, or by a signal."""
        self.gone = True
        clean = status == 0 and signal is None
        reason = ProcessDone(0) if clean else ProcessTerminated(None if signal else status, signal)
        self.protocol.processEnded(Failure(reason))


class ProcessReactor(MemoryReactorClock):
    """Time, ports and processes in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[FakeProcess] = []
        self.stopped = 0

    def spawnProcess(self, protocol: Any, executable: str, args: Any, env: Any, path: Any, *rest: Any) -> FakeProcess:
        """Start one."""
        process = FakeProcess(protocol, list(args), env, path, rest[-1], 100 + len(self.processes))
        self.processes.append(process)
        protocol.makeConnection(process)
        return process

    def stop(self) -> None:
        """Remember."""
        self.stopped += 1
