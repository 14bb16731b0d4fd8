# -*- test-case-name: tests.web.test_channel -*-
"""What connections of all protocols have in common: a socket that may be full, and how they end."""

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IAddress, IPushProducer, ISSLTransport
from twisted.internet.protocol import Protocol
from zope.interface import implementer

from vllmsim.web.sending import unsent

if TYPE_CHECKING:
    from vllmsim.web.site import Site


@implementer(IPushProducer)
class Connection(Protocol):
    """One connection, which its site knows while it is open."""

    site: "Site"
    full = False
    """Whether the client reads too slowly for more to be written."""
    _peer: IAddress | None = None
    _host: IAddress | None = None
    _held: int | None = None
    _closing = False

    @property
    def socket(self) -> Any:
        """What the bytes go to: a TCP, TLS or Unix transport."""
        return self.transport

    @property
    def idle(self) -> bool:
        """Whether the client has all answers and has not begun to ask for another."""
        raise NotImplementedError

    def drain(self) -> None:
        """Close the connection if it is idle; the site closes, and who has its answer then is told so."""
        if self.idle:
            self.loseConnection()

    # What goes out

    def pauseProducing(self) -> None:
        """Learn that the client reads too slowly."""
        if not self.full and not self._closing:
            self.full = True
            self._watch()

    def resumeProducing(self) -> None:
        """Learn that the client has read."""
        self.full = False
        self.site.sending.stop(self)

    def stopProducing(self) -> None:
        """Learn that the connection is lost, which :meth:`connectionLost` tells too."""

    def _watch(self) -> None:
        self._held = unsent(self.socket)
        self.site.sending.start(self)

    def stalled(self) -> None:
        """Cut a client off that has read nothing for as long as the site allows."""
        if self._held is not None and unsent(self.socket) != self._held:
            self._watch()
        else:
            self.abort()

    def loseConnection(self) -> None:
        """Close the connection when everything is sent, or the client reads no more."""
        if not self._closing:
            self._closing = True
            self.site.forget(self)
            self._watch()
            self.socket.unregisterProducer()
            self.socket.loseConnection()

    def abort(self) -> None:
        """Close the connection now; what is not sent yet is thrown away."""
        self.socket.abortConnection()

    def dismiss(self) -> None:
        """Wait for nobody any more, as the server stops: tell those who can be told, and close the connection."""
        self.abort()

    # What requests want to know

    def isSecure(self) -> bool:
        """Tell whether the connection is encrypted."""
        return ISSLTransport.providedBy(self.transport)

    def getPeer(self) -> IAddress:
        """Name the client's address."""
        if self._peer is None:
            self._peer = self.socket.getPeer()
        return self._peer

    def getHost(self) -> IAddress:
        """Name the address that the client came to."""
        if self._host is None:
            self._host = self.socket.getHost()
        return self._host
