"""The short way to a socket, and the usual one."""

import socket
from typing import Any
from unittest.mock import patch

from attrs import define, field
from twisted.internet.abstract import FileDescriptor
from twisted.internet.protocol import Protocol
from twisted.internet.tcp import Connection
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.web import sending
from vllmsim.web.sending import understood, unsent, write_to


@define(eq=False)
class Watching:
    """A reactor that remembers who waits for room."""

    writers: list[Any] = field(factory=list)

    def addWriter(self, writer: Any) -> None:
        """Watch one."""
        if writer not in self.writers:
            self.writers.append(writer)

    removeWriter = removeReader = lambda self, one: self.writers.remove(one) if one in self.writers else None


class SendingTests(SynchronousTestCase):
    """A connection whose other end reads when the test does."""

    def setUp(self) -> None:
        """Make both ends; the buffer between is small."""
        near, self.far = socket.socketpair()
        for end in (near, self.far):
            end.setblocking(False)
            self.addCleanup(end.close)
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        reactor: Any = Watching()
        self.reactor = reactor
        self.connection: Any = Connection(near, Protocol(), reactor)
        self.connection.connected = True

    def read(self) -> bytes:
        """Read what is there."""
        data = b""
        try:
            while piece := self.far.recv(1 << 20):
                data += piece
        except BlockingIOError:
            pass
        return data

    def test_at_once(self) -> None:
        """What the socket takes is sent at once, and the reactor is not asked for anything."""
        write = write_to(self.connection)
        write(b"some")
        self.assertEqual((b"some", [], 0), (self.read(), self.reactor.writers, unsent(self.connection)))

    def test_full(self) -> None:
        """What it does not take is sent when there is room, and nothing overtakes it."""
        write = write_to(self.connection)
        expected = b""
        for number in range(200):
            piece = bytes([number]) * (7000 if number % 3 else 50)
            write(piece)
            expected += piece
        self.assertEqual([self.connection], self.reactor.writers)
        kept = unsent(self.connection)
        received = self.read()
        self.assertEqual(len(expected), len(received) + (kept or 0))
        for _ in range(10_000):
            if not self.reactor.writers:
                break
            self.connection.doWrite()
            received += self.read()
            self.assertEqual(len(expected), len(received) + (unsent(self.connection) or 0))
        self.assertEqual(expected, received)
        write(b"more")
        self.assertEqual((b"more", []), (self.read(), self.reactor.writers))

    def test_broken(self) -> None:
        """A connection that is broken is left to the reactor to find out."""
        write = write_to(self.connection)
        self.far.close()
        write(b"some")
        self.assertEqual([self.connection], self.reactor.writers)
        self.assertIsInstance(self.connection.doWrite(), Exception)
        self.connection.connected = False
        write(b"some")

    def test_usual(self) -> None:
        """Transports that are no plain connection are written to as ever, and what they keep is not known."""
        transport = StringTransport()
        write_to(transport)(b"some")
        self.assertEqual((b"some", None), (transport.value(), unsent(transport)))
        self.connection.TLS = True
        self.assertEqual(self.connection.write, write_to(self.connection))

    def test_wrapped(self) -> None:
        """What a connection under TLS keeps is known."""
        self.connection.write(b"some")

        class Wrapped(StringTransport):
            """TLS over the connection."""

            transport = self.connection

        self.assertEqual(4, unsent(Wrapped()))

    def test_not_understood(self) -> None:
        """With a Twisted that is built otherwise, everything goes the usual way."""
        self.assertTrue(understood())

        class Renamed(FileDescriptor):
            """A descriptor whose buffer has another name."""

            def write(self, data: bytes) -> None:
                """Keep it elsewhere."""
                self.elsewhere = data

        self.assertFalse(understood(Renamed))
        self.assertFalse(understood(lambda _: object()))
        with patch.object(sending, "_UNDERSTOOD", new=False):
            self.assertEqual(self.connection.write, write_to(self.connection))
            self.assertIsNone(unsent(self.connection))
