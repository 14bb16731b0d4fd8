"""A server beside the daemon that does not do as it should: it takes connections, and then whatever a test says."""

import contextlib
import socket
import ssl
from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import Final, TypeAlias

Behaviour: TypeAlias = Callable[[socket.socket], object]
"""What is done with a connection; it is closed afterwards."""
_ENDLESS: Final = 64 << 20
"""Bytes that stand for any number of them."""


class Neighbour:
    """A server.

    :param behave: what it does with the connections that come; it may be changed.
    :param secure: speaks TLS if there is one.
    """

    def __init__(self, behave: Behaviour, secure: ssl.SSLContext | None = None) -> None:
        self.behave = behave
        self.met = 0
        """How many connections there were since the behaviour was changed."""
        self._secure = secure
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port: int = self._listener.getsockname()[1]
        Thread(target=self._accept, daemon=True).start()

    def become(self, behave: Behaviour) -> None:
        """Do otherwise from now on, with other connections than those that there are."""
        self.behave, self.met = behave, 0
        self.drop()

    def drop(self) -> None:
        """End all connections."""
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Be gone."""
        # What accepts is in a system call, which closing does not end.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()[0]
            except OSError:
                return
            self.met += 1
            Thread(target=self._meet, args=(connection, self.behave), daemon=True).start()

    def _meet(self, connection: socket.socket, behave: Behaviour) -> None:
        self._open.add(connection)
        with connection, contextlib.suppress(OSError):
            connection.settimeout(60)
            behave(connection)
        self._open.discard(connection)


def silent(connection: socket.socket) -> None:
    """Take everything and say nothing."""
    while connection.recv(1 << 16):
        pass


def deaf(connection: socket.socket) -> None:
    """Take nothing, and say nothing until the other side is gone."""
    connection.recv(1)
    silent(connection)


def closing(connection: socket.socket) -> None:
    """Hang up at once."""


def garbage(connection: socket.socket) -> None:
    """Answer with what is no answer in any protocol."""
    connection.recv(1 << 16)
    connection.sendall(bytes(range(255, -1, -1)) * 64)


def saying(answer: bytes) -> Behaviour:
    """Answer every piece that comes with the same."""

    def say(connection: socket.socket) -> None:
        while connection.recv(1 << 16):
            connection.sendall(answer)

    return say


def http(status: str, body: bytes = b"", *lines: str, length: int | None = None) -> bytes:
    """Make an answer of HTTP.

    :param length: what it says of its length, if that is another than it has.
    """
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def answering(status: str, body: bytes = b"", *lines: str, length: int | None = None) -> Behaviour:
    """Answer every request of HTTP with the same, once it is there as a whole."""

    def answer(connection: socket.socket) -> None:
        received = b""
        while piece := connection.recv(1 << 16):
            received += piece
            while (end := received.find(b"\r\n\r\n")) >= 0:
                told = received[:end].lower().partition(b"content-length:")[2].split(b"\r\n")[0]
                size = end + 4 + int(told or 0)
                if len(received) < size:
                    break
                received = received[size:]
                connection.sendall(http(status, body, *lines, length=length))
                if length is not None and length > len(body):
                    return

    return answer


def dripping(connection: socket.socket, head: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n") -> None:
    """Answer, ever so slowly."""
    connection.recv(1 << 16)
    connection.sendall(head)
    while True:
        connection.sendall(b" ")
        connection.settimeout(0.1)
        with contextlib.suppress(TimeoutError):
            if not connection.recv(1 << 16):
                return


def endless(connection: socket.socket, head: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> None:
    """Answer, and never stop."""
    connection.recv(1 << 16)
    connection.sendall(head)
    for _ in range(0, 16 * _ENDLESS, 1 << 16):
        connection.sendall(b" " * (1 << 16))


def redirecting(where: str, status: str = "307 Temporary Redirect") -> Behaviour:
    """Send whoever asks elsewhere."""
    return answering(status, b"", f"Location: {where}")


truncating: Behaviour = answering("200 OK", b'{"half": ', length=1000)
"""Hangs up in the middle of an answer."""
refusing: Behaviour = partial(answering("500 Internal Server Error", b"<p>sorry"))
"""Answers that it cannot."""
