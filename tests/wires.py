"""Connections of Twisted's own kind without a reactor: what is written goes through a real socket."""

import socket
from typing import Any

from attrs import define, field
from twisted.internet.address import IPv4Address
from twisted.internet.protocol import Protocol
from twisted.internet.tcp import Connection


@define(eq=False)
class Watching:
    """A reactor that remembers who waits for room."""

    writers: list[Any] = field(factory=list)

    def addWriter(self, writer: Any) -> None:
        """Watch one."""
        if writer not in self.writers:
            self.writers.append(writer)

    def removeWriter(self, writer: Any) -> None:
        """Watch it no more."""
        if writer in self.writers:
            self.writers.remove(writer)

    def addReader(self, reader: Any) -> None:
        """Read nothing: tests hand over what comes in."""

    removeReader = addReader


class _Named(Connection):
    """A connection that has an address."""

    def getPeer(self) -> IPv4Address:
        """Name the other end."""
        return IPv4Address("TCP", "127.0.0.1", 1)

    getHost = getPeer


class Wire:
    """A connection whose other end reads when the test does.

    :param protocol: what the connection belongs to.
    :param room: bytes that the socket keeps, roughly.
    """

    def __init__(self, protocol: Protocol, room: int = 4096) -> None:
        near, self._far = socket.socketpair()
        for end in (near, self._far):
            end.setblocking(False)
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
        reactor: Any = Watching()
        self.writers: list[Any] = reactor.writers
        self.connection: Any = _Named(near, protocol, reactor)
        self.connection.connected = True
        self._near = near
        protocol.makeConnection(self.connection)

    def read(self) -> bytes:
        """Read what is there."""
        data = b""
        try:
            while piece := self._far.recv(1 << 20):
                data += piece
        except BlockingIOError:
            pass
        return data

    def read_all(self) -> bytes:
        """Read, and have the connection write what it keeps, until there is nothing more."""
        data = self.read()
        while self.writers and self.connection.doWrite() is None:
            data += self.read()
        return data

    def hang_up(self) -> None:
        """Close the other end."""
        self._far.close()

    def close(self) -> None:
        """Close both ends."""
        self.hang_up()
        self._near.close()
