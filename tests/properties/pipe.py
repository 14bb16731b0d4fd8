"""A connection in memory whose reader may stop: what it has not read makes the server wait, as a full socket does."""

from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

_ROOM = 200
"""How many bytes may wait for the reader before the server is asked to stop."""


class Pipe(StringTransport):
    """What the server writes to, and what the client reads from.

    Unlike its base it takes part as a socket does: whoever is asked to close a connection hears of its end, and who is
    not read from is not given bytes.
    """

    reads = True
    """Whether the client reads what comes."""
    lost = False
    """Whether the connection has come to its end."""
    protocol: Any = None

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._unread = bytearray()
        self._unsent = bytearray()
        self._full = False

    def attach(self, protocol: Any) -> None:
        """Connect what is at the server's end."""
        self.protocol = protocol
        protocol.makeConnection(self)

    # What the client does

    def send(self, data: bytes) -> None:
        """Send bytes; they wait while the server does not read."""
        self._unsent += data
        self._pass_on()

    def _pass_on(self) -> None:
        while self._unsent and self.producerState == "producing" and not (self.lost or self.disconnecting):
            data, self._unsent = bytes(self._unsent), bytearray()
            self.protocol.dataReceived(data)

    def stop_reading(self) -> None:
        """Read nothing of what comes from now on."""
        self.reads = False

    def read_on(self) -> None:
        """Read what is there, and all that comes."""
        self.reads = True
        unread, self._unread = bytes(self._unread), bytearray()
        super().write(unread)
        self._emptied()

    def drop(self) -> None:
        """Go away without a word. Harmless for one that is gone."""
        self._end(ConnectionLost())

    # What the server does

    def write(self, data: bytes) -> None:
        """Take bytes."""
        if self.lost:
            return
        if self.reads:
            super().write(data)
            return
        self._unread += data
        if len(self._unread) > _ROOM and self.producer is not None and not self._full:
            self._full = True
            self.producer.pauseProducing()

    def writeSequence(self, data: Any) -> None:
        """Take several pieces."""
        self.write(b"".join(data))

    def _emptied(self) -> None:
        if self._full:
            self._full = False
            if self.producer is not None:
                self.producer.resumeProducing()
        if self.disconnecting and not self._unread:
            self._clock.callLater(0, self._end, ConnectionDone())

    def pauseProducing(self) -> None:
        """Give the server nothing more."""
        self.producerState = "paused"

    def resumeProducing(self) -> None:
        """Give it what waits, in the next turn."""
        if self.producerState == "paused" and not self.disconnecting:
            self.producerState = "producing"
            self._clock.callLater(0, self._pass_on)

    def loseConnection(self) -> None:
        """Close when everything is read."""
        if not self.disconnecting:
            self.disconnecting = True
            if not self._unread:
                self._clock.callLater(0, self._end, ConnectionDone())

    def abortConnection(self) -> None:
        """Close now."""
        self.disconnecting = True
        self._unread.clear()
        self._clock.callLater(0, self._end, ConnectionAborted())

    def _end(self, reason: Exception) -> None:
        if not self.lost:
            self.lost = True
            self._unread.clear()
            self.protocol.connectionLost(Failure(reason))
