# -*- test-case-name: tests.web.test_site -*-
"""The HTTP server of one rank: its connections, what clients may send, and how it closes."""

import time
from math import inf
from typing import Final, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocolNegotiationFactory, IReactorTime
from twisted.internet.protocol import Factory
from twisted.web.http import datetimeToString
from zope.interface import implementer

from vllmsim.interfaces import IHttpMetrics, IJournal
from vllmsim.web.channel import Channel
from vllmsim.web.deadlines import Deadlines
from vllmsim.web.middleware.chain import Chain
from vllmsim.web.request import Request

_NO_CHAIN: Final = Chain()
_COMING: Final = 60.0
"""Seconds between a connection and its first request, and between one piece of a request and the next."""


@frozen
class Limits:
    """What clients may send, and how long they may take.

    :param head_bytes: the largest head of a request.
    :param headers: the most headers.
    :param body_bytes: the largest body.
    :param keep_alive: seconds between a response and the connection's next request.
    :param send: seconds in which a client must read something of what is written to it; 0 for as long as it likes.
    """

    head_bytes: int
    headers: int
    body_bytes: int
    keep_alive: float
    send: float = 60.0


class Routes(Protocol):
    """Finds routes, and has them answer."""

    def locate(self, request: Request) -> None:
        """Settle what is known of a request by its path and method."""

    def render(self, request: Request) -> object:
        """Have a request answered; what is returned is a Deferred, NOT_DONE_YET or None, when that is done."""


@implementer(IProtocolNegotiationFactory)
class Site(Factory):
    """Serves one rank's routes.

    :param clock: measures exchanges and times out connections.
    :param chain: what each request goes through; it may be put in another's place at any time.
    :param root_path: the path under which a proxy shows the server.
    :param journal: remembers requests.
    """

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
    ) -> None:
        self.resource = resource
        self.clock = clock
        self.metrics = metrics
        self.limits = limits
        self.chain = chain
        self.root_path = root_path.rstrip("/").encode()
        self.journal = journal
        self.channels: set[Channel] = set()
        self.closing = False
        self.coming: Deadlines[Channel] = Deadlines(clock, _COMING, Channel.loseConnection)
        self.resting: Deadlines[Channel] = Deadlines(clock, limits.keep_alive, Channel.loseConnection)
        self.sending: Deadlines[Channel] = Deadlines(clock, limits.send or inf, Channel.stalled)
        self._second = 0
        self._signature = b""
        self._emptied: Deferred[None] | None = None

    def buildProtocol(self, addr: object) -> Channel:
        """Make a connection of this site."""
        channel = Channel()
        channel.site = self
        return channel

    def acceptableProtocols(self) -> list[bytes]:
        """List what TLS clients may choose."""
        return [b"http/1.1"]

    @property
    def signature(self) -> bytes:
        """The lines that every head has: the time, and the server that this one is taken for."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._signature = b"date: " + datetimeToString(second) + b"\r\nserver: uvicorn\r\n"
        return self._signature

    def forget(self, channel: Channel) -> None:
        """Wait for a connection no more."""
        self.coming.stop(channel)
        self.resting.stop(channel)
        self.sending.stop(channel)

    def channel_closed(self, channel: Channel) -> None:
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
            if channel.idle:
                channel.loseConnection()
        return waiting

    def abort(self) -> None:
        """Close every connection now."""
        for channel in list(self.channels):
            channel.socket.abortConnection()
