"""Connections under TLS, with a client in memory."""

import gc
import ssl
import time
import weakref
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, cast

from OpenSSL.SSL import Error
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP6ServerEndpoint
from twisted.internet.error import CannotListenError, ConnectionLost
from twisted.internet.interfaces import IListeningPort, IProtocolNegotiationFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.tls.authority import DAY, Authority, Pair
from tests.tls.client import Client, believing
from vllmsim.tls.certificates import Certificates
from vllmsim.tls.contexts import reason_of
from vllmsim.tls.errors import TlsError
from vllmsim.tls.serving import TlsEndpoint
from vllmsim.tls.settings import FileSource, Manner, Place, SelfSigned, Source


class Echo(Protocol):
    """Says again what it hears."""

    def dataReceived(self, data: bytes) -> None:
        """Say it again."""
        assert self.transport is not None
        self.transport.write(data)

    def connectionLost(self, reason: Failure = Failure(ConnectionLost())) -> None:  # noqa: B008
        """Remember why."""
        cast("Echoes", self.factory).lost.append(reason)


@implementer(IProtocolNegotiationFactory)
class Echoes(Factory):
    """Makes them."""

    protocol = Echo
    refuses = False

    def __init__(self, protocols: list[bytes]) -> None:
        self.protocols = protocols
        self.made: list[Any] = []
        self.lost: list[Failure] = []

    def buildProtocol(self, addr: Any) -> Any:
        """Make one, unless it is told not to."""
        if self.refuses:
            return None
        self.made.append(addr)
        return super().buildProtocol(addr)

    def acceptableProtocols(self) -> list[bytes]:
        """List what TLS clients may choose."""
        return self.protocols


class ServingTestCase(SynchronousTestCase):
    """A server in memory."""

    def setUp(self) -> None:
        """Have a certificate."""
        self.reactor = MemoryReactorClock()
        self.folder = Path(mkdtemp())
        self.authority = Authority()
        self.echoes = Echoes([b"http/1.1"])
        self.write(self.authority.issue())

    def write(self, pair: Pair) -> None:
        """Put a certificate into files."""
        self.files = pair.write(self.folder)

    def listen(self, manner: Manner | None = None, source: Source | None = None) -> IListeningPort:
        """Listen."""
        if source is None:
            authorities = self.folder / "authorities.pem"
            authorities.write_bytes(self.authority.pem)
            source = FileSource(*self.files, authorities=str(authorities) if manner and manner.asking else "")
        self.certificates = Certificates(source, manner or Manner(), self.reactor, time.time, maybeDeferred)
        endpoint = TlsEndpoint(self.reactor, Place(8443), self.certificates)
        port = self.successResultOf(endpoint.listen(self.echoes))
        self.factory: Any = self.reactor.tcpServers[-1][1]
        self.addCleanup(port.stopListening)
        return port

    def connect(self, context: ssl.SSLContext | None = None, name: str = "localhost") -> Client:
        """Connect."""
        return Client(self.factory, context or believing(self.authority.pem), name)

    def own(self, authority: Authority, name: str = "client") -> ssl.SSLContext:
        """Make a client that has a certificate."""
        return believing(self.authority.pem, pair=authority.issue(name).write(self.folder, name))


class HandshakeTests(ServingTestCase):
    """Who may talk, and how."""

    def test_echo(self) -> None:
        """After a handshake the protocol talks to the client, whose address it knows; the certificate is checked."""
        self.listen()
        client = self.connect()
        self.assertEqual([], self.echoes.made)
        self.assertTrue(client.shake())
        client.send(b"hello")
        self.assertEqual(b"hello", client.receive())
        self.assertEqual([client.transport.getPeer()], self.echoes.made)
        self.assertEqual(("TLSv1.3", 1), (client.tls.version(), len(self.reactor.getDelayedCalls())))
        client.protocol.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(1, len(self.echoes.lost))

    def test_forgotten(self) -> None:
        """A connection that has ended in order is gone at once: nobody must collect it."""
        self.listen()
        client = self.connect()
        client.shake()
        client.send(b"hello")
        client.receive()
        left = [weakref.ref(client.protocol), weakref.ref(client.protocol.wrappedProtocol)]
        gc.disable()
        self.addCleanup(gc.enable)
        self.assertRaises(ssl.SSLWantReadError, client.tls.unwrap)
        client.exchange()
        client.protocol.connectionLost(Failure(ConnectionLost()))
        client.transport.producer = None
        del client
        self.echoes.lost.clear()
        self.assertEqual([None, None], [each() for each in left])

    def test_much(self) -> None:
        """Much is said again as it was, in as many pieces as it takes."""
        self.listen()
        client = self.connect()
        client.shake()
        heard = b""
        client.send(bytes(range(256)) * 1000)
        while piece := client.receive():
            heard += piece
        self.assertEqual(bytes(range(256)) * 1000, heard)

    def test_no_name(self) -> None:
        """A client that does not say whom it wants is served too."""
        self.listen()
        client = self.connect(believing(), name="")
        self.assertTrue(client.shake())

    def test_another_authority(self) -> None:
        """A client that does not know the authority goes away; that is a line for debugging and nothing more."""
        self.listen()
        client = self.connect(believing(Authority("Other").pem))
        self.assertRaises(ssl.SSLCertVerificationError, client.shake)
        with capturedLogs() as events:
            client.exchange()
            client.protocol.connectionLost(Failure(ConnectionLost()))
        [event] = events
        self.assertEqual("debug", event["log_level"].name)
        self.assertIn("unknown ca", event["fault"])
        self.assertEqual([], self.echoes.made)

    def test_silent_end(self) -> None:
        """A connection that the server has closed is closed, also if its client does not say that it has heard it."""
        self.listen()
        client = self.connect()
        client.shake()
        client.send(b"hello")
        client.protocol.write(b", and bye")
        client.protocol.loseConnection()
        self.assertTrue(client.transport.disconnecting)
        self.assertEqual([b"hello", b", and bye"], [client.receive(), client.receive()])
        # It has been told that this is the end, and not only cut off.
        self.assertEqual(b"", client.tls.read())

    def test_old_versions(self) -> None:
        """TLS 1.0 and 1.1 are refused; 1.2 and 1.3 are spoken."""
        self.listen()
        for version, spoken in {"TLSv1": False, "TLSv1_1": False, "TLSv1_2": True, "TLSv1_3": True}.items():
            context = believing()
            context.set_ciphers("ALL:@SECLEVEL=0")
            # Python says that it is not to be done, which is what is tried.
            context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
            self.flushWarnings()
            client = self.connect(context)
            if spoken:
                self.assertTrue(client.shake(), version)
            else:
                error = self.assertRaises(ssl.SSLError, client.shake)
                self.assertIn("PROTOCOL_VERSION", str(error).upper().replace(" ", "_"))
            client.protocol.connectionLost(Failure(ConnectionLost()))

    def test_ciphers(self) -> None:
        """In TLS 1.2 a cipher has forward secrecy and authentication, unless the operator wants another one."""
        context = believing()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        self.listen()
        client = self.connect(context)
        client.shake()
        cipher = client.tls.cipher()
        assert cipher is not None
        self.assertEqual("ECDHE-ECDSA-AES128-GCM-SHA256", cipher[0])
        context.set_ciphers("ECDHE-ECDSA-AES256-SHA384:ECDHE-ECDSA-AES128-SHA256")
        self.assertRaises(ssl.SSLError, self.connect(context).shake)
        self.listen(Manner("ECDHE-ECDSA-AES128-SHA256"))
        client = self.connect(context)
        client.shake()
        cipher = client.tls.cipher()
        assert cipher is not None
        self.assertEqual("ECDHE-ECDSA-AES128-SHA256", cipher[0])

    def test_protocols(self) -> None:
        """A client that offers HTTP/1.1 gets it; one that offers other protocols alone, or none, gets no word of it."""
        self.listen()
        for offered, chosen in ((["h2", "http/1.1"], "http/1.1"), (["h2"], None), ([], None)):
            context = believing()
            context.set_alpn_protocols(offered)
            client = self.connect(context)
            self.assertTrue(client.shake())
            self.assertEqual(chosen, client.tls.selected_alpn_protocol())
        self.echoes.protocols = [b"h2", b"http/1.1"]
        context.set_alpn_protocols(["http/1.1", "h2"])
        client = self.connect(context)
        client.shake()
        self.assertEqual("h2", client.tls.selected_alpn_protocol())

    def test_chain(self) -> None:
        """Clients see what the files have and no more: authorities of clients are none of the server's."""
        self.listen(Manner(asking=1))
        client = self.connect()
        client.shake()
        [shown] = cast("Any", client.tls)._sslobj.get_unverified_chain()
        self.assertIn("server", shown.get_info()["subject"][0][0])

    def test_between(self) -> None:
        """A client that knows the root alone finds its way by what is behind the server's certificate."""
        between = Authority("Between", self.authority)
        pair = between.issue()
        self.write(pair)
        self.listen()
        self.assertRaises(ssl.SSLCertVerificationError, self.connect().shake)
        Path(self.files[0]).write_bytes(pair.certificate_pem + between.pem)
        self.listen()
        self.assertTrue(self.connect().shake())

    def test_resumed(self) -> None:
        """A client that comes again may go on with what was agreed on."""
        self.listen(Manner(asking=2))
        context = self.own(self.authority)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        first = self.connect(context)
        first.shake()
        again = self.connect(context)
        again.tls = context.wrap_bio(again._in, again._out, server_hostname="localhost", session=first.tls.session)
        again.shake()
        self.assertTrue(again.tls.session_reused)


class ClientTests(ServingTestCase):
    """Certificates of clients."""

    def talks(self, context: ssl.SSLContext) -> bool:
        """Tell whether a client may talk."""
        client = self.connect(context)
        try:
            client.shake()
            client.send(b"hello")
            heard = client.receive()
        except ssl.SSLError:
            return False
        finally:
            client.protocol.connectionLost(Failure(ConnectionLost()))
        return heard == b"hello"

    def test_required(self) -> None:
        """Where a certificate is required, who has none, or one of somebody else's, may not talk."""
        self.listen(Manner(asking=2))
        self.assertFalse(self.talks(believing(self.authority.pem)))
        self.assertFalse(self.talks(self.own(Authority())))
        self.assertTrue(self.talks(self.own(self.authority)))
        self.assertEqual(1, len(self.echoes.made))

    def test_optional(self) -> None:
        """Where it is optional, who has none may talk, and who has a wrong one may not."""
        self.listen(Manner(asking=1))
        self.assertTrue(self.talks(believing(self.authority.pem)))
        self.assertFalse(self.talks(self.own(Authority())))
        self.assertTrue(self.talks(self.own(self.authority)))

    def test_expired(self) -> None:
        """One that has expired is none."""
        self.listen(Manner(asking=2))
        late = self.authority.issue(begins=time.time() - 2 * DAY, ends=time.time() - DAY)
        self.assertFalse(self.talks(believing(self.authority.pem, pair=late.write(self.folder, "late"))))

    def test_told(self) -> None:
        """In TLS 1.2 a client learns which certificate is meant, and both sides know of each other in one handshake."""
        self.listen(Manner(asking=2))
        context = self.own(self.authority)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        self.assertTrue(self.talks(context))


class NoHandshakeTests(ServingTestCase):
    """Who speaks something else, or nothing."""

    def raw(self, data: bytes = b"") -> Any:
        """Connect and say something.

        :return: the protocol.
        """
        protocol = self.factory.buildProtocol(UNIXAddress("/x"))
        self.transport = StringTransport()
        protocol.makeConnection(self.transport)
        if data:
            protocol.dataReceived(data)
        return protocol

    def test_http(self) -> None:
        """Who speaks HTTP without TLS is told what is wrong, and the log's debug level too; it costs no protocol."""
        self.listen()
        with capturedLogs() as events:
            protocol = self.raw(b"G")
            protocol.dataReceived(b"ET / HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = self.transport.value()
            protocol.connectionLost(Failure(ConnectionLost()))
        head, _, body = answer.partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 400 "))
        self.assertEqual(b"This port speaks TLS: use https.\n", body)
        self.assertIn(b"Content-Length: %d" % len(body), head)
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(["the client speaks HTTP without TLS"], [event["fault"] for event in events])
        self.assertEqual([], self.echoes.made)

    def test_nonsense(self) -> None:
        """Who speaks nothing that is known is sent away, with a line for debugging."""
        self.listen()
        with capturedLogs() as events:
            protocol = self.raw(b"\x80\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09" * 9)
            protocol.connectionLost(Failure(ConnectionLost()))
        [event] = events
        self.assertEqual(("debug", "?:?"), (event["log_level"].name, event["peer"]))
        self.assertTrue(event["fault"])

    def test_silence(self) -> None:
        """Who says nothing, or stops in the middle, is sent away after ten seconds."""
        self.listen()
        protocols = [self.raw(), self.raw(b"\x16\x03\x01\x02\x00\x01")]
        with capturedLogs() as events:
            self.reactor.advance(9.9)
            self.assertFalse(self.transport.disconnected)
            self.reactor.advance(0.2)
            self.assertTrue(self.transport.disconnected)
            for protocol in protocols:
                protocol.connectionLost(Failure(ConnectionLost()))
        self.assertEqual({"it takes more than 10 s"}, {event["fault"] for event in events if "fault" in event})

    def test_gone(self) -> None:
        """Who goes away before the handshake is done leaves nothing behind."""
        self.listen()
        self.raw().connectionLost(Failure(ConnectionLost()))
        self.assertEqual(1, len(self.reactor.getDelayedCalls()))

    def test_refused(self) -> None:
        """A factory that wants no more connections has this one closed."""
        self.listen()
        self.echoes.refuses = True
        client = self.connect()
        client.shake()
        self.assertTrue(client.transport.disconnected)

    def test_reasons(self) -> None:
        """What goes wrong is said in OpenSSL's words where it has any."""
        self.assertEqual("bad", reason_of(Error([("SSL routines", "", "worse"), ("SSL routines", "", "bad")])))
        self.assertEqual("unknown", reason_of(Error([("SSL routines", "", "")])))
        self.assertEqual("unexpected eof while reading", reason_of(Error([])))
        self.assertEqual(
            ["x", "ValueError", "None"], [reason_of(each) for each in (ValueError("x"), ValueError(), None)]
        )


class PortTests(ServingTestCase):
    """Ports open and close."""

    def test_port(self) -> None:
        """A port watches its certificate while it is open; closing it ends handshakes, and no connection."""
        port = self.listen()
        verifyObject(IListeningPort, port)
        self.assertEqual(8443, self.reactor.tcpServers[0][0])
        client, waiting = self.connect(), self.connect()
        client.shake()
        self.successResultOf(maybeDeferred(port.stopListening))
        self.assertTrue(waiting.transport.disconnected)
        waiting.protocol.connectionLost(Failure(ConnectionLost()))
        self.assertEqual([], self.reactor.getDelayedCalls())
        client.send(b"still")
        self.assertEqual(b"still", client.receive())
        port.startListening()
        self.assertEqual(1, len(self.reactor.getDelayedCalls()))
        self.assertEqual("0.0.0.0", cast("Any", port.getHost()).host)

    def test_replaced(self) -> None:
        """Open connections go on when the certificate is replaced; new ones have the new one."""
        self.listen()
        old = self.connect()
        old.shake()
        second = self.authority.issue("second")
        self.write(second)
        self.reactor.pump([1.0, 1.0])
        new = self.connect()
        new.shake()
        self.assertEqual(second.certificate.serial_number, new.serial)
        self.assertNotEqual(old.serial, new.serial)
        for client in (old, new):
            client.send(b"hello")
            self.assertEqual(b"hello", client.receive())

    def test_lifecycle(self) -> None:
        """The factory is started and stopped with the port, and known in the log by its own name."""
        self.listen()
        self.factory.doStart()
        self.assertEqual(1, self.echoes.numPorts)
        self.factory.doStop()
        self.assertEqual(0, self.echoes.numPorts)
        self.assertEqual("Echoes (TLS)", self.factory.logPrefix())

    def test_interfaces(self) -> None:
        """An address with colons is one of IPv6."""
        certificates = Certificates(FileSource(*self.files), Manner(), self.reactor, time.time, maybeDeferred)
        port = self.successResultOf(TlsEndpoint(self.reactor, Place(1, "::1", 7), certificates).listen(self.echoes))
        self.assertEqual((1, 7, "::1"), (self.reactor.tcpServers[0][0], *self.reactor.tcpServers[0][2:]))
        self.assertTrue(callable(TCP6ServerEndpoint))
        self.successResultOf(maybeDeferred(port.stopListening))

    def test_taken(self) -> None:
        """A port that is taken is told as ever, and nothing is written or watched."""

        def refuse(*_: Any, **__: Any) -> None:
            raise CannotListenError("", 8443, OSError(98, "Address already in use"))

        self.reactor.listenTCP = refuse  # type: ignore[method-assign]
        path = self.folder / "shown.pem"
        certificates = Certificates(SelfSigned((), str(path)), Manner(), self.reactor, time.time, maybeDeferred)
        self.failureResultOf(
            TlsEndpoint(self.reactor, Place(8443), certificates).listen(self.echoes), CannotListenError
        )
        self.assertFalse(path.exists())
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_shown(self) -> None:
        """Clients who are given the certificate that was made believe it."""
        path = self.folder / "shown.pem"
        self.listen(source=SelfSigned((), str(path)))
        client = self.connect(believing(path.read_bytes()))
        client.tls.context.verify_flags |= ssl.VERIFY_X509_STRICT
        self.assertTrue(client.shake())

    def test_cannot_write(self) -> None:
        """A certificate that cannot be written to its file keeps the port closed."""
        source = SelfSigned((), "/no/such/file")
        certificates = Certificates(source, Manner(), self.reactor, time.time, maybeDeferred)
        failed = TlsEndpoint(self.reactor, Place(8443), certificates).listen(self.echoes)
        error = self.failureResultOf(failed, TlsError).value
        self.assertEqual("cannot write the certificate to its file: No such file or directory", str(error))
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_cannot_write_at_a_socket(self) -> None:
        """That is told at once, also where a port takes time to close: who starts a server must learn it."""
        closing: list[Deferred[None]] = []

        def begin() -> Deferred[None]:
            closing.append(Deferred())
            return closing[-1]

        class Slow(MemoryReactorClock):
            def listenTCP(self, *arguments: Any, **words: Any) -> Any:
                port: Any = super().listenTCP(*arguments, **words)
                port.stopListening = begin
                return port

        reactor = Slow()
        certificates = Certificates(SelfSigned((), str(self.folder)), Manner(), reactor, time.time, maybeDeferred)
        error = self.failureResultOf(TlsEndpoint(reactor, Place(8443), certificates).listen(self.echoes), TlsError)
        self.assertIn("cannot write the certificate to its file: ", str(error.value))
        self.assertEqual(1, len(closing))
