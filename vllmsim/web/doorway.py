# -*- test-case-name: tests.web.test_doorway -*-
"""The beginning of a connection to a port where both HTTP/1.1 and HTTP/2 are spoken.

Under TLS the client may have chosen in the handshake (ALPN); else the first bytes tell: who speaks HTTP/2 begins with a
preface of 24 bytes that is no request of HTTP/1.1. When that is known the connection belongs to a channel of the one
or the other, and bytes go there directly. What speaks HTTP/2 is found when the first client wants it, which takes a
moment; what a client sends meanwhile waits.
"""

from typing import TYPE_CHECKING, Final

from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from vllmsim.turns import when_read
from vllmsim.web.channel import Channel
from vllmsim.web.connection import Connection

if TYPE_CHECKING:
    from vllmsim.web.http2.connection import Http2

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def _goodbye(code: int, why: bytes = b"") -> bytes:
    """Write what sends a client away: settings that are none, as a server must begin with some, and a GOAWAY."""
    length = (8 + len(why)).to_bytes(3, "big")
    return b"\0\0\0\4\0\0\0\0\0" + length + b"\7\0\0\0\0\0\0\0\0\0" + code.to_bytes(4, "big") + why


_REFUSAL: Final = _goodbye(13, b"HTTP/2 is not spoken here.")
"""Has the code HTTP_1_1_REQUIRED."""
_CLOSING: Final = _goodbye(0)


class Doorway(Connection):
    """A connection whose protocol is not known yet."""

    _log = Logger()

    _begun = b""
    _channel: Connection | None = None
    _finding = False

    def connectionMade(self) -> None:
        """Tell the site, and ask what was chosen in the handshake."""
        self.socket.registerProducer(self, True)
        self.site.channels.add(self)
        self.site.coming.start(self)
        if self._chosen is not None:
            self._choose(b"")

    @property
    def _chosen(self) -> bytes | None:
        """What was chosen by ALPN, if that has happened."""
        return getattr(self.transport, "negotiatedProtocol", None) or None

    @property
    def idle(self) -> bool:
        """Whether there is nobody to answer yet. Who waits for us may have sent requests."""
        return not self._finding

    def dismiss(self) -> None:
        """Close the connection."""
        self.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Look at the first bytes."""
        if self._finding:
            self._begun += data
        elif not self._closing:
            self._choose(self._begun + data)

    def _choose(self, begun: bytes) -> None:
        """Find out what the client speaks, as far as that can be known."""
        self._begun = begun
        chosen = self._chosen
        prior = begun[: len(PREFACE)] == PREFACE[: len(begun)]
        if chosen == b"h2" or (chosen is None and prior and len(begun) >= len(PREFACE)):
            self._find()
        elif chosen is not None or not prior:
            channel = Channel()
            channel.site = self.site
            self._become(channel)

    def _find(self) -> None:
        """Have the client wait until there is what speaks HTTP/2."""
        http2 = self.site.http2
        if http2 is None:
            self._refuse()
            return
        finding = http2()
        if not finding.called:
            self._finding = True
            self.socket.pauseProducing()
        finding.addCallbacks(self._found, self._missing)
        finding.addErrback(lambda failure: self._log.failure("While a connection began", failure))

    def _found(self, http2: "Http2") -> None:
        if not self._closing:
            self._read_on()
            channel = http2.connect(self.site)
            self._become(channel)
            if self.site.closing:
                when_read(self.site.clock, channel.drain)

    def _missing(self, reason: Failure) -> None:
        """Do without HTTP/2 from now on."""
        if self.site.http2 is not None:
            self.site.http2 = None
            self._log.failure("HTTP/2 cannot be spoken", reason)
        if not self._closing:
            self._read_on()
            self._refuse()

    def _read_on(self) -> None:
        if self._finding:
            self._finding = False
            self.socket.resumeProducing()

    def _refuse(self) -> None:
        """Have the client speak HTTP/1.1."""
        self.socket.write(_REFUSAL)
        self.loseConnection()

    def loseConnection(self) -> None:
        """Close the connection; a client who still waits for us is told so."""
        if self._finding:
            self._finding = False
            if not self.site.closing:
                self._log.warn("What speaks HTTP/2 is not there in time. Clients are sent away.")
            self.socket.write(_CLOSING if self.site.closing else _REFUSAL)
        super().loseConnection()

    def _become(self, channel: Connection) -> None:
        """Give the connection to a channel."""
        begun, self._begun = self._begun, b""
        self._channel = channel
        self.site.forget(self)
        self.site.channels.discard(self)
        self.socket.unregisterProducer()
        channel.makeConnection(self.socket)
        # Whatever comes goes there without a detour.
        self.dataReceived = channel.dataReceived  # type: ignore[method-assign]
        if begun:
            channel.dataReceived(begun)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell those who are concerned."""
        self._closing = True
        channel, self._channel = self._channel, None
        if channel is None:
            self.site.channel_closed(self)
        else:
            del self.dataReceived
            channel.connectionLost(reason)
