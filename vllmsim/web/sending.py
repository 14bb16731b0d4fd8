# -*- test-case-name: tests.web.test_sending -*-
"""The short way for bytes to a client: into the socket at once, while nothing waits before them.

A transport of Twisted's keeps what is written to it until the reactor says that the socket has room, which costs three
system calls where one would do: more than everything else that a token costs. A plain connection with an empty buffer
can be sent to directly; what the kernel does not take goes the usual way, as everything does on other transports.

This is the only module that looks into Twisted's private parts. It tries them when it is imported, and where they are
not what they were, everything goes the usual way.
"""

import socket
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import ITransport
from twisted.internet.tcp import Connection
from twisted.logger import Logger

_log: Final = Logger()

Write = Callable[[bytes], None]


class _Idle:
    """A reactor that is asked for nothing but to watch."""

    def addWriter(self, writer: Any) -> None:
        """Watch nobody."""


def understood(kind: Callable[[Any], Any] = FileDescriptor) -> bool:
    """Tell whether descriptors keep what is unsent where this module looks for it.

    :param kind: makes a descriptor, given its reactor.
    """
    try:
        descriptor = kind(_Idle())
        before = _unsent(descriptor)
        descriptor.connected = True
        descriptor.write(b"some")
        return (before, _unsent(descriptor)) == (0, 4)
    except Exception:  # noqa: BLE001 - whatever a strange release does, it is no reason not to start
        return False


def _unsent(descriptor: Any) -> int:
    # Of the buffer, what is before the offset is sent.
    return int(descriptor._tempDataLen + len(descriptor.dataBuffer) - descriptor.offset)  # noqa: SLF001


_UNDERSTOOD: Final = understood()
if not _UNDERSTOOD:
    _log.warn("This release of Twisted is not known here: every write goes through its buffers, which costs more.")


def _plain(transport: object) -> bool:
    """Tell whether bytes written to a transport go to its socket as they are."""
    return _UNDERSTOOD and isinstance(transport, Connection) and not transport.TLS


def write_to(transport: ITransport) -> Write:
    """Find the shortest way to write to a transport."""
    return _direct(transport) if _plain(transport) else transport.write


def _direct(transport: Any) -> Write:
    send, write = transport.getHandle().send, transport.write

    def send_now(data: bytes) -> None:
        if transport._tempDataLen or transport.dataBuffer or not transport.connected:  # noqa: SLF001
            write(data)
            return
        try:
            sent = send(data)
        except OSError:
            # Full, or broken: the reactor will find out which.
            write(data)
        else:
            if sent < len(data):
                write(data[sent:])

    return send_now


def unsent(transport: ITransport) -> int | None:
    """Count the bytes that a transport keeps.

    :return: None where that cannot be known.
    """
    inner = getattr(transport, "transport", transport)
    return _unsent(inner) if _UNDERSTOOD and isinstance(inner, Connection) else None


def _is_tcp(transport: ITransport) -> bool:
    # Under TLS there is a transport below, and the handle is none of the system's.
    inner = getattr(transport, "transport", transport)
    handle = getattr(inner, "getHandle", lambda: None)()
    return getattr(handle, "family", None) in {socket.AF_INET, socket.AF_INET6}


def hurry(transport: ITransport) -> None:
    """Have the kernel send small pieces at once, where it would wait for more."""
    if _is_tcp(transport):
        transport.setTcpNoDelay(True)  # type: ignore[attr-defined]


def keep_alive(transport: ITransport) -> None:
    """Have the kernel find out when the other end is gone, where nothing is sent for long."""
    if _is_tcp(transport):
        transport.setTcpKeepAlive(True)  # type: ignore[attr-defined]
