"""Stand-ins for a cache outside: a Redis server that says what the test says, and a store that has what it wants."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from attrs import define, field
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectError, ConnectionDone
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from vllmsim.interfaces import IBlockStore, IBlockStoreMetrics


@define(eq=False)
class Connection:
    """One connection of a client."""

    protocol: Any
    transport: StringTransport = field(factory=StringTransport)
    lost: bool = False

    def commands(self) -> list[list[bytes]]:
        """Take the commands that have come since the last time."""
        data, commands = self.transport.value(), []
        self.transport.clear()
        while data:
            words = []
            count, _, data = data.partition(b"\r\n")
            assert count[:1] == b"*"
            for _ in range(int(count[1:])):
                length, _, data = data.partition(b"\r\n")
                words.append(data[: int(length[1:])])
                data = data[int(length[1:]) + 2 :]
            commands.append(words)
        return commands

    def say(self, *lines: bytes) -> None:
        """Answer."""
        self.protocol.dataReceived(b"".join(line + b"\r\n" for line in lines))

    def close(self, reason: Exception | None = None) -> None:
        """End the connection."""
        if not self.lost:
            self.lost = True
            self.protocol.connectionLost(Failure(reason or ConnectionDone()))

    def settle(self) -> None:
        """End it if the client wants that."""
        if self.transport.disconnecting or self.transport.disconnected:
            self.close()


@implementer(IStreamClientEndpoint)
@define(eq=False)
class ScriptedServer:
    """Takes connections, or refuses them, or says nothing at all."""

    manner: str = "takes"
    connections: list[Connection] = field(factory=list)
    tries: int = 0

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        """Connect."""
        self.tries += 1
        factory.doStart()
        if self.manner == "refuses":
            factory.doStop()
            return fail(ConnectError(string="nobody listens"))
        if self.manner == "hangs":
            return Deferred()
        connection = Connection(factory.buildProtocol(UNIXAddress(None)))
        self.connections.append(connection)
        connection.protocol.makeConnection(connection.transport)
        return succeed(connection.protocol)

    @property
    def last(self) -> Connection:
        """The newest connection."""
        return self.connections[-1]


@implementer(IBlockStoreMetrics)
@define(eq=False)
class RecordingStoreMetrics:
    """Remembers what it hears."""

    heard: list[tuple[Any, ...]] = field(factory=list)

    def store_changed(self, up: bool) -> None:
        """Remember."""
        self.heard.append(("up" if up else "down",))

    def store_failed(self, reason: str) -> None:
        """Remember."""
        self.heard.append(("failed", reason))

    def store_answered(self, seconds: float) -> None:
        """Remember."""
        self.heard.append(("answered", seconds))

    def store_passed_over(self, blocks: int) -> None:
        """Remember."""
        self.heard.append(("dropped", blocks))


@implementer(IBlockStore)
@define(eq=False)
class GivenStore:
    """A store in memory.

    :param there: the blocks that it has.
    :param reachable: whether it is there itself.
    """

    there: dict[bytes, None] = field(factory=dict)
    reachable: bool = True
    looked: list[list[bytes]] = field(factory=list)
    written: list[bytes] = field(factory=list)
    turns: list[Deferred[None]] | None = None
    """Lookups that wait for their answers, if they take time."""
    running: bool = False
    clears: int = 0

    def start(self) -> None:
        """Begin."""
        self.running = True

    def stop(self) -> Deferred[None]:
        """End."""
        self.running = False
        return succeed(None)

    async def lookup(self, hashes: Sequence[bytes]) -> int | None:
        """Count the leading blocks."""
        self.looked.append(list(hashes))
        if self.turns is not None:
            self.turns.append(Deferred())
            await self.turns[-1]
        return len([*takewhile(self.there.__contains__, hashes)]) if self.reachable else None

    def store(self, hashes: Sequence[bytes]) -> None:
        """Keep blocks."""
        self.written += hashes
        self.there.update(dict.fromkeys(hashes))

    def clear(self) -> Deferred[bool]:
        """Forget them."""
        self.clears += 1
        self.there.clear()
        return succeed(self.reachable)
