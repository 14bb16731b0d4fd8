# -*- test-case-name: tests.processes.test_probing -*-
"""Asks a rank in another process how it is: ``GET /health``, wherever it listens."""

import re
from typing import TYPE_CHECKING, Any, Final, cast

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import SSL4ClientEndpoint, TCP4ClientEndpoint, UNIXClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint, ITCPTransport
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.ssl import CertificateOptions
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure

from vllmsim.config.endpoints import TLS_KINDS, endpoint_words
from vllmsim.listening import StartError

if TYPE_CHECKING:
    from vllmsim.tls.identities import Identity

_OWN_HOST: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what servers listen on
"""Where to find who listens everywhere."""
_SECURE: Final = ("ssl", *TLS_KINDS)
_POSITIONS: Final = {
    "tcp": ("port", "interface"), "tcp6": ("port", "interface"), "unix": ("address",),
    **dict.fromkeys(_SECURE, ("port",)),
}  # fmt: skip
"""What words without a name mean."""


def client_endpoint(listening: str, reactor: Any, identity: "Identity | None" = None) -> IStreamClientEndpoint:
    """Find the other end of an endpoint on this machine.

    :param listening: a ``tcp``, ``tcp6``, ``unix`` endpoint in Twisted's syntax for servers, or one with TLS.
    :param identity: the certificate to present, where one is asked for.
    :raises vllmsim.listening.StartError: when it is none of them.
    """
    words = endpoint_words(listening)
    kind = words.kind
    facts = {**dict(zip(_POSITIONS[kind], words.positional, strict=False)), **words.named}
    where = facts.get(_POSITIONS[kind][0], "")
    if not (where if kind == "unix" else where.isdecimal()):
        raise StartError(listening, f"it names no {_POSITIONS[kind][0]}")
    if kind == "unix":
        return UNIXClientEndpoint(reactor, where)
    interface = facts.get("interface", "::" if kind == "tcp6" else "")
    host = _OWN_HOST.get(interface, interface)
    if kind in _SECURE:
        own: Any = {} if identity is None else {"privateKey": identity.key, "certificate": identity.certificate}
        # Whose certificate the rank has does not matter: it is the one that was started here.
        return SSL4ClientEndpoint(reactor, host, int(where), CertificateOptions(**own))
    return TCP4ClientEndpoint(reactor, host, int(where))


class _Question(LineReceiver):
    """One connection, on which one question is asked.

    :param status: fires with the status of the answer; fails when the connection ends before; cancelled, it ends it.
    """

    def __init__(self) -> None:
        self.status: Deferred[int] = Deferred(self._give_up)

    def connectionMade(self) -> None:
        """Ask."""
        self._socket.write(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n")

    def lineReceived(self, line: bytes) -> None:
        """Learn the status, which says all, from the first line."""
        match = re.match(rb"HTTP/1\.\d (\d{3})\b", line)
        if match is None:
            self._socket.abortConnection()
            return
        self.status.callback(int(match[1]))
        self._socket.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Learn that no answer will come, if there was none."""
        if not self.status.called:
            self.status.errback(reason)

    def _give_up(self, _status: Deferred[int]) -> None:
        self._socket.abortConnection()

    @property
    def _socket(self) -> ITCPTransport:
        return cast("ITCPTransport", self.transport)


class _Questions(Factory):
    """Asks, and writes no line about it in the log."""

    noisy = False
    protocol = _Question


async def probe(endpoint: IStreamClientEndpoint) -> int:
    """Ask a rank how it is. Cancelled, it closes the connection.

    :param endpoint: where to find it.
    :return: the status of its answer.
    :raises Exception: of many kinds, when there is none.
    """
    question: Any = await endpoint.connect(_Questions())
    status: int = await question.status
    return status
