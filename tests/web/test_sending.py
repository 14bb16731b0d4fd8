"""The short way to a socket, and the usual one."""

import socket
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

from twisted.internet.abstract import FileDescriptor
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from tests.wires import Wire
from vllmsim.web import sending
from vllmsim.web.sending import hurry, keep_alive, understood, unsent, write_to


class SendingTests(SynchronousTestCase):
    """A connection whose other end reads when the test does."""

    def setUp(self) -> None:
        """Make both ends; the buffer between is small."""
        self.wire = Wire(Protocol())
        self.addCleanup(self.wire.close)
        self.connection = self.wire.connection

    def test_at_once(self) -> None:
        """What the socket takes is sent at once, and the reactor is not asked for anything."""
        write = write_to(self.connection)
        write(b"some")
        self.assertEqual((b"some", [], 0), (self.wire.read(), self.wire.writers, unsent(self.connection)))

    def test_full(self) -> None:
        """What it does not take is sent when there is room, and nothing overtakes it."""
        write = write_to(self.connection)
        expected = b""
        for number in range(200):
            piece = bytes([number]) * (7000 if number % 3 else 50)
            write(piece)
            expected += piece
        self.assertEqual([self.connection], self.wire.writers)
        kept = unsent(self.connection)
        received = self.wire.read()
        self.assertEqual(len(expected), len(received) + (kept or 0))
        for _ in range(10_000):
            if not self.wire.writers:
                break
            self.connection.doWrite()
            received += self.wire.read()
            self.assertEqual(len(expected), len(received) + (unsent(self.connection) or 0))
        self.assertEqual(expected, received)
        write(b"more")
        self.assertEqual((b"more", []), (self.wire.read(), self.wire.writers))

    def test_broken(self) -> None:
        """A connection that is broken is left to the reactor to find out."""
        write = write_to(self.connection)
        self.wire.hang_up()
        write(b"some")
        self.assertEqual([self.connection], self.wire.writers)
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

    def test_hurry(self) -> None:
        """Small pieces leave at once, also under TLS; other transports are left alone."""
        hurried: list[object] = []
        with socket.socket() as handle:
            plain: Any = SimpleNamespace(getHandle=lambda: handle, setTcpNoDelay=hurried.append)
            hurry(plain)
            hurry(cast("Any", SimpleNamespace(transport=plain, getHandle=object, setTcpNoDelay=hurried.append)))
        hurry(StringTransport())
        self.assertEqual([True, True], hurried)

    def test_keep_alive(self) -> None:
        """The system looks after connections where nothing is sent for long; other transports are left alone."""
        kept: list[object] = []
        with socket.socket() as handle:
            keep_alive(cast("Any", SimpleNamespace(getHandle=lambda: handle, setTcpKeepAlive=kept.append)))
        keep_alive(StringTransport())
        self.assertEqual([True], kept)

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
