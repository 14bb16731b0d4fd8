"""Asking a rank how it is."""

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import SSL4ClientEndpoint, TCP4ClientEndpoint, UNIXClientEndpoint
from twisted.internet.error import ConnectionDone
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from vllmsim.identity import endpoint_of
from vllmsim.listening import StartError
from vllmsim.processes.probing import client_endpoint, probe

ENDPOINTS: dict[str, tuple[str, tuple[str | int, ...]]] = {
    "": ("tcp", ("127.0.0.1", 8001)),
    "--host 0.0.0.0": ("tcp", ("127.0.0.1", 8001)),
    "--host 127.0.0.2": ("tcp", ("127.0.0.2", 8001)),
    "--host ::": ("tcp", ("::1", 8001)),
    "--host ::1": ("tcp", ("::1", 8001)),
    "--ssl-certfile c --ssl-keyfile k": ("ssl", ("127.0.0.1", 8001)),
    "--ssl-certfile c --ssl-keyfile k --host ::1": ("ssl", ("::1", 8001)),
    "--uds /run/a:b/{rank}": ("unix", ("/run/a:b/1",)),
    "--listen tcp:{port}:10.0.0.1": ("tcp", ("10.0.0.1", 8001)),
    "--listen tcp:port={port}:backlog=9:interface=10.0.0.1": ("tcp", ("10.0.0.1", 8001)),
    "--listen tcp:backlog=9:{port}": ("tcp", ("127.0.0.1", 8001)),
    "--listen tcp6:{port}": ("tcp", ("::1", 8001)),
    "--listen ssl:{port}:privateKey=k:certKey=c": ("ssl", ("127.0.0.1", 8001)),
    "--listen ssl:{port}:k:c": ("ssl", ("127.0.0.1", 8001)),
    "--listen unix:address=/run/{port}.sock:mode=600": ("unix", ("/run/8001.sock",)),
}


class EndpointTests(SynchronousTestCase):
    """Where to connect."""

    def test_endpoints(self) -> None:
        """A rank is found wherever it can listen."""
        for words, (kind, where) in ENDPOINTS.items():
            reactor = MemoryReactorClock()
            configuration = load_words([*words.split(), "-dp", "2", "-dpm"], {}).configuration
            endpoint = client_endpoint(endpoint_of(configuration, 1), reactor)
            kinds = {"tcp": TCP4ClientEndpoint, "ssl": SSL4ClientEndpoint, "unix": UNIXClientEndpoint}
            self.assertIsInstance(endpoint, kinds[kind])
            attempt = endpoint.connect(None)  # type: ignore[arg-type]
            clients = {"tcp": reactor.tcpClients, "ssl": reactor.sslClients, "unix": reactor.unixClients}
            [client] = clients[kind]
            self.assertEqual(where, client[: len(where)], words)
            attempt.cancel()
            self.failureResultOf(attempt)

    def test_nowhere(self) -> None:
        """An endpoint that does not say where is one line."""
        for listening in ("tcp:", "tcp:x", "tcp:interface=h", "ssl:privateKey=k", "unix:mode=600"):
            error = self.assertRaises(StartError, client_endpoint, listening, MemoryReactorClock())
            self.assertRegex(str(error), f"^vllmsim: cannot listen on '{listening}': it names no (port|address)$")


class ProbeTests(SynchronousTestCase):
    """What is asked, and what an answer is."""

    def setUp(self) -> None:
        """Ask a rank, and connect."""
        self.reactor = MemoryReactorClock()
        with capturedLogs() as self.events:
            self.status = self.ask()
            factory: Any = self.reactor.tcpClients[0][2]
            factory.doStart()
            self.protocol = factory.buildProtocol(None)
            self.transport = StringTransport()
            self.protocol.makeConnection(self.transport)

    def ask(self) -> Deferred[int]:
        """Ask a rank."""
        return Deferred.fromCoroutine(probe(client_endpoint("tcp:8001", self.reactor)))

    def test_question(self) -> None:
        """It is asked for its health over a connection of its own, and the log says nothing of it."""
        self.assertEqual(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n", self.transport.value())
        self.assertNoResult(self.status)
        self.protocol.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Le")
        self.assertEqual(200, self.successResultOf(self.status))
        self.assertTrue(self.transport.disconnecting)
        self.protocol.dataReceived(b"ngth: 2\r\n\r\n{}")
        self.protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual([], self.events)

    def test_status(self) -> None:
        """Any status is an answer."""
        self.protocol.dataReceived(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(503, self.successResultOf(self.status))

    def test_no_answer(self) -> None:
        """A connection that ends without one is none."""
        self.protocol.dataReceived(b"HTTP/1.1 20")
        self.protocol.connectionLost(Failure(ConnectionDone()))
        self.failureResultOf(self.status, ConnectionDone)

    def test_nonsense(self) -> None:
        """Somebody who speaks something else is left alone, and has not answered."""
        for words in (b"SSH-2.0-x\r\n", b"x" * 20_000):
            self.setUp()
            self.protocol.dataReceived(words)
            self.assertTrue(self.transport.disconnecting or self.transport.disconnected)
            self.protocol.connectionLost(Failure(ConnectionDone()))
            self.failureResultOf(self.status, ConnectionDone)

    def test_refused(self) -> None:
        """So is one that is refused."""
        status = self.ask()
        factory: Any = self.reactor.tcpClients[1][2]
        factory.clientConnectionFailed(None, Failure(Refused()))
        self.failureResultOf(status, Refused)

    def test_cancel(self) -> None:
        """A question that is dropped closes the connection at once."""
        self.status.cancel()
        self.failureResultOf(self.status, CancelledError)
        self.assertTrue(self.transport.disconnected)
        self.protocol.connectionLost(Failure(ConnectionDone()))
