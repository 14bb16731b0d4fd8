"""A client that speaks TLS with a protocol in memory, as Python's own ssl module does."""

import ssl
from typing import Any

from cryptography.x509 import load_der_x509_certificate
from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransport

PEER = IPv4Address("TCP", "127.0.0.9", 5000)


def believing(*certificates: bytes, pair: tuple[str, str] | None = None) -> ssl.SSLContext:
    """Make what a client believes.

    :param certificates: those of authorities, as PEM; nobody's is checked without one.
    :param pair: files with the client's own certificate and key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if certificates:
        context.load_verify_locations(cadata=b"".join(certificates).decode())
    else:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if pair is not None:
        context.load_cert_chain(*pair)
    return context


class Client:
    """Connects to a server's factory.

    :param factory: the outermost one, which a port has.
    :param context: what the client believes.
    :param name: the server's name; none is told if empty.
    """

    def __init__(self, factory: Any, context: ssl.SSLContext, name: str = "localhost") -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_hostname=name or None)
        self.protocol = factory.buildProtocol(PEER)
        self.transport = StringTransport(peerAddress=PEER)
        self.protocol.makeConnection(self.transport)

    def shake(self) -> bool:
        """Do the handshake.

        :return: whether it is done on this side.
        :raises ssl.SSLError: when it cannot be.
        """
        for _ in range(5):
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.exchange()
            else:
                self.exchange()
                return True
        return False

    def exchange(self) -> None:
        """Bring both sides what the other one has said."""
        said = self._out.read()
        if said and not self.transport.disconnected:
            self.protocol.dataReceived(said)
        self._in.write(self.transport.value())
        self.transport.clear()

    def send(self, data: bytes) -> None:
        """Say something."""
        self.tls.write(data)
        self.exchange()

    def receive(self) -> bytes:
        """Read what has come; nothing if nothing has.

        :raises ssl.SSLError: when the server has refused this client.
        """
        self.exchange()
        try:
            return self.tls.read(1 << 16)
        except ssl.SSLWantReadError:
            return b""

    @property
    def serial(self) -> int:
        """The serial number of the certificate that the server has shown."""
        shown = self.tls.getpeercert(binary_form=True)
        assert shown is not None
        return load_der_x509_certificate(shown).serial_number
