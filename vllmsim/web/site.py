# -*- test-case-name: tests.web.test_site -*-
"""The HTTP server of one rank: its connections, what clients may send, and how it closes."""

import time
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any, Final, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocolNegotiationFactory, IReactorTime
from twisted.internet.protocol import Factory
from twisted.web.http import datetimeToString
from zope.interface import implementer

from vllmsim.api.extent import USUAL, Extent
from vllmsim.interfaces import IHttpMetrics, IJournal
from vllmsim.web.channel import Channel
from vllmsim.web.connection import Connection
from vllmsim.web.deadlines import Deadlines
from vllmsim.web.doorway import Doorway
from vllmsim.web.middleware.chain import Chain
from vllmsim.web.request import Request

if TYPE_CHECKING:
    from vllmsim.web.http2.connection import Http2

_NO_CHAIN: Final = Chain()


@frozen
class Limits:
    """What clients may send, and how long they may take.

    :param head_bytes: the largest head of a request.
    :param headers: the most headers.
    :param body_bytes: the largest body.
    :param keep_alive: seconds between a response and the connection's next request.
    :param send: seconds in which a client must read something of what is written to it; 0 for as long as it likes.
    :param extent: how large a body may be in other ways.
    :param receive: seconds in which a client must begin its first request, send a request's head with the first 16 KiB
        of the body, and each further 16 KiB; 0 for as long as it likes.
    """

    head_bytes: int
    headers: int
    body_bytes: int
    keep_alive: float
    send: float = 60.0
    extent: Extent = USUAL
    receive: float = 60.0


class Awaited(Protocol):
    """A connection, or a part of one, whose client is waited for."""

    def loseConnection(self) -> None:
        """Wait no more for something to come."""

    def stalled(self) -> None:
        """Wait no more for something to be read."""


def _lose(who: Awaited) -> None:
    who.loseConnection()


def _stalled(who: Awaited) -> None:
    who.stalled()


class Routes(Protocol):
    """Finds routes, and has them answer."""

    def locate(self, request: Request) -> None:
        """Settle what is known of a request by its path and method."""

    def render(self, request: Request) -> object:
        """Have a request answered; what is returned is a Deferred, NOT_DONE_YET or None, when that is done."""


@implementer(IProtocolNegotiationFactory)
class Site(Factory):
    """Serves one rank's routes.

    :param clock: times out connections.
    :param chain: what each request goes through; it may be put in another's place at any time.
    :param root_path: the path under which a proxy shows the server.
    :param journal: remembers requests.
    :param seconds: tells the time by which exchanges are measured, if that is not the clock's.
    """

    http2: "Callable[[], Deferred[Http2]] | None" = None
    """Finds what speaks HTTP/2, which may take a moment, and says so with a Deferred of its own each time; None where
    nothing does."""

    noisy = False
    protocol = Channel

    def __init__(
        self,
        resource: Routes,
        clock: IReactorTime,
        metrics: IHttpMetrics,
        limits: Limits,
        *,
        chain: Chain = _NO_CHAIN,
        root_path: str = "",
        journal: IJournal | None = None,
        seconds: Callable[[], float] | None = None,
    ) -> None:
        self.resource = resource
        self.clock = clock
        self.seconds = seconds or clock.seconds
        self.metrics = metrics
        self.limits = limits
        self.chain = chain
        self.root_path = root_path.rstrip("/").encode()
        self.journal = journal
        self.channels: set[Connection] = set()
        self.closing = False
        self.met = 0
        """How many connections there have been."""
        self.coming: Deadlines[Awaited] = Deadlines(clock, limits.receive or inf, _lose)
        self.resting: Deadlines[Awaited] = Deadlines(clock, limits.keep_alive, _lose)
        self.sending: Deadlines[Awaited] = Deadlines(clock, limits.send or inf, _stalled)
        self._second = 0
        self._signature = b""
        self._signature_fields: list[tuple[bytes, bytes]] = []
        self._emptied: Deferred[None] | None = None

    def buildProtocol(self, addr: object) -> Any:
        """Make a connection of this site."""
        made: Connection = Channel() if self.http2 is None else Doorway()
        made.site = self
        self.met += 1
        return made

    def acceptableProtocols(self) -> list[bytes]:
        """List what TLS clients may choose, the best first."""
        return [b"http/1.1"] if self.http2 is None else [b"h2", b"http/1.1"]

    @property
    def signature(self) -> bytes:
        """The lines that every head has: the time, and the server that this one is taken for."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            date = datetimeToString(second)
            self._signature = b"date: " + date + b"\r\nserver: uvicorn\r\n"
            self._signature_fields = [(b"date", date), (b"server", b"uvicorn")]
        return self._signature

    @property
    def signature_fields(self) -> list[tuple[bytes, bytes]]:
        """The same as names and values."""
        return self._signature_fields if self.signature else []

    def forget(self, channel: Awaited) -> None:
        """Wait for a connection, or a part of one, no more."""
        self.coming.stop(channel)
        self.resting.stop(channel)
        self.sending.stop(channel)

    def channel_closed(self, channel: Connection) -> None:
        """Forget a connection altogether."""
        self.forget(channel)
        self.channels.discard(channel)
        if self.channels:
            return
        for deadlines in (self.coming, self.resting, self.sending):
            deadlines.clear()
        if self._emptied is not None:
            emptied, self._emptied = self._emptied, None
            emptied.callback(None)

    def close(self) -> Deferred[None]:
        """Close idle connections now, and busy ones after their response.

        :return: fires when all are closed and what was written to them is sent.
        """
        self.closing = True
        if not self.channels:
            return succeed(None)
        self._emptied = Deferred()
        waiting = self._emptied
        for channel in list(self.channels):
            channel.drain()
        return waiting

    def dismiss(self) -> None:
        """Close every connection now; clients who have no answer yet are told that the server stops."""
        for channel in list(self.channels):
            channel.dismiss()
