# -*- test-case-name: tests.tls.test_serving -*-
"""Connections under TLS: a handshake first, and then the protocol that it was for.

Until a handshake is done there is no protocol behind it, so that who connects and says nothing costs little, and is
sent away in time. What becomes of handshakes is for the log's debug level alone: any port scan makes hundreds fail.
"""

from typing import Any, ClassVar, Final, cast

from OpenSSL import SSL
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHandshakeListener,
    IListeningPort,
    ILoggingContext,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
    IProtocolNegotiationFactory,
    IReactorTime,
    IStreamServerEndpoint,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from vllmsim.tls.certificates import Certificates
from vllmsim.tls.contexts import reason_of
from vllmsim.tls.errors import TlsError
from vllmsim.tls.settings import Place

_PATIENCE: Final = 10.0
"""Seconds that a handshake may take."""
_USE_TLS: Final = b"This port speaks TLS: use https.\n"
_NO_TLS: Final = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_USE_TLS), _USE_TLS)
)
_WHAT: Final = {
    "http request": "the client speaks HTTP without TLS",
    "unexpected eof while reading": "the client went away",
}


@implementer(IHandshakeListener)
class _Handshake(Protocol):
    """What is behind TLS until a handshake is done.

    :param door: counts those that are not.
    """

    _log: ClassVar[Logger] = Logger()

    def __init__(self, door: "_Door", peer: Any) -> None:
        self._door = door
        self._peer = peer
        self._late: IDelayedCall | None = None
        self.fault = ""
        """Why it cannot be done, where TLS itself does not know."""

    def connectionMade(self) -> None:
        """Wait for the client, but not for long."""
        self._door.waiting.add(self)
        self._late = self._door.clock.callLater(_PATIENCE, self._give_up)

    def handshakeCompleted(self) -> None:
        """Put the protocol in this one's place."""
        self._done()
        transport: Any = self.transport
        protocol = self._door.factory.buildProtocol(self._peer)
        if protocol is None:
            transport.abortConnection()
            return
        transport.wrappedProtocol = protocol
        protocol.makeConnection(transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Say what was wrong."""
        self._done()
        fault = self.fault or reason_of(reason.value)
        peer = f"{getattr(self._peer, 'host', '?')}:{getattr(self._peer, 'port', '?')}"
        self._log.debug("No TLS handshake with {peer}: {fault}.", peer=peer, fault=_WHAT.get(fault, fault))

    def abort(self) -> None:
        """Close the connection."""
        cast("ITCPTransport", self.transport).abortConnection()

    def _give_up(self) -> None:
        self._late = None
        self.fault = f"it takes more than {_PATIENCE:g} s"
        self.abort()

    def _done(self) -> None:
        self._door.waiting.discard(self)
        late, self._late = self._late, None
        if late is not None:
            late.cancel()


@implementer(IProtocolNegotiationFactory)
class _Door(Factory):
    """Makes what is behind TLS.

    :param factory: makes what is behind a handshake.
    """

    noisy = False

    def __init__(self, factory: IProtocolFactory, clock: IReactorTime) -> None:
        self.factory = factory
        self.clock = clock
        self.waiting: set[_Handshake] = set()

    def doStart(self) -> None:
        """Start the factory."""
        super().doStart()
        self.factory.doStart()

    def doStop(self) -> None:
        """Stop the factory."""
        super().doStop()
        self.factory.doStop()

    def logPrefix(self) -> str:
        """Be known as the factory is."""
        return self.factory.logPrefix() if ILoggingContext.providedBy(self.factory) else type(self.factory).__name__

    def acceptableProtocols(self) -> list[bytes]:
        """List what ALPN may choose, the best first: what the factory says.

        Which one was chosen, :class:`_Handshake` can tell when it asks the factory for a protocol.
        """
        negotiates = IProtocolNegotiationFactory(self.factory, None)
        return [] if negotiates is None else list(negotiates.acceptableProtocols())

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Begin with a handshake."""
        return _Handshake(self, addr)

    def close(self) -> None:
        """Close the connections whose handshakes are not done."""
        for each in list(self.waiting):
            each.abort()


class _Connection(TLSMemoryBIOProtocol):
    """One connection, which tells who speaks no TLS so."""

    _begun = False
    _refused = False

    def dataReceived(self, bytes: bytes) -> None:  # noqa: A002 - as Twisted calls it
        """Take what comes. No TLS begins with a letter, as each request of HTTP does."""
        if not self._begun:
            self._begun = True
            if bytes[:1].isalpha():
                self._refuse()
        if not self._refused:
            super().dataReceived(bytes)

    def _shutdownTLS(self) -> None:
        """Say that nothing follows, and close: who does not say the same would keep the connection for ever."""
        super()._shutdownTLS()
        cast("ITCPTransport", self.transport).loseConnection()

    def _refuse(self) -> None:
        self._refused = True
        cast("_Handshake", self.wrappedProtocol).fault = "http request"
        transport = cast("ITCPTransport", self.transport)
        transport.write(_NO_TLS)
        transport.loseConnection()


@implementer(IOpenSSLServerConnectionCreator)
class _Contexts:
    """Makes connections with the certificate that is in use."""

    def __init__(self, certificates: Certificates) -> None:
        self._certificates = certificates

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Make one."""
        return SSL.Connection(self._certificates.context)


@implementer(IListeningPort)
class _Port:
    """A port whose certificate is watched while it is open.

    :param inner: takes the connections.
    """

    def __init__(self, port: IListeningPort, certificates: Certificates, door: _Door) -> None:
        self.inner = port
        self._certificates = certificates
        self._door = door
        self._open = True
        certificates.start()

    def startListening(self) -> None:
        """Listen again.

        :raises twisted.internet.error.CannotListenError: when that is not possible.
        """
        self.inner.startListening()
        if not self._open:
            self._open = True
            self._certificates.start()

    def stopListening(self) -> Deferred[Any]:
        """Take no more connections, and close those whose handshakes are not done.

        :return: fires when the port is closed.
        """
        if self._open:
            self._open = False
            self._certificates.stop()
        closed: Deferred[Any] = maybeDeferred(self.inner.stopListening)
        self._door.close()
        return closed

    def getHost(self) -> IAddress:
        """Name the address."""
        return self.inner.getHost()


@implementer(IStreamServerEndpoint)
class TlsEndpoint:
    """Listens on TCP, and speaks TLS.

    :param reactor: provides time and sockets.
    :param certificates: has what connections are made with.
    """

    def __init__(self, reactor: Any, place: Place, certificates: Certificates) -> None:
        self._reactor = reactor
        self._place = place
        self._certificates = certificates

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen.

        :return: fires with the port; fails when there is none, or the certificate cannot be written to its file.
        """
        place, factory = self._place, protocolFactory
        kind = TCP6ServerEndpoint if ":" in place.interface else TCP4ServerEndpoint
        endpoint = kind(self._reactor, place.port, place.backlog, place.interface)
        door = _Door(factory, self._reactor)
        outer = TLSMemoryBIOFactory(_Contexts(self._certificates), False, door, self._reactor)
        outer.protocol = _Connection
        listening: Deferred[IListeningPort] = endpoint.listen(outer).addCallback(self._begin, door)
        return listening

    def _begin(self, port: IListeningPort, door: _Door) -> IListeningPort:
        try:
            self._certificates.publish()
        except OSError as error:
            # Nobody waits for it to close: who starts a server looks at once whether it listens.
            maybeDeferred(port.stopListening)
            raise TlsError(f"cannot write the certificate to its file: {error.strerror or error}") from error
        return _Port(port, self._certificates, door)
