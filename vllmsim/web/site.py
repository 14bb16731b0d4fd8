# -*- test-case-name: tests.web.test_site -*-
"""The HTTP server of one rank: its connections, what clients may send, and how it closes."""

from collections.abc import Callable
from typing import Any, Final, cast

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IReactorTime, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger, LogPublisher
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.http import HTTPChannel
from twisted.web.http import Request as BaseRequest
from twisted.web.resource import IResource

from vllmsim.interfaces import IHttpMetrics
from vllmsim.web.cors import Cors
from vllmsim.web.request import Request

_NO_CORS: Final = Cors()
_NO_REQUEST: Final = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
    b"Content-Length: 30\r\n\r\nInvalid HTTP request received."
)


class Channel(HTTPChannel):
    """One connection, which its site knows while it is open."""

    # Twisted's channel writes a line for each connection that was idle for too long, which is no news.
    _log = Logger(observer=LogPublisher())

    site: "Site"

    @property
    def socket(self) -> ITCPTransport:
        """What the bytes go to."""
        return cast("ITCPTransport", self.transport)

    def connectionMade(self) -> None:
        """Tell the site."""
        super().connectionMade()
        self.site.channels.add(self)

    def dataReceived(self, data: bytes) -> None:
        """Read a piece of a request. A client that has begun one may take its time, as far as the site allows."""
        if self.timeOut == self.site.limits.keep_alive:
            self.setTimeout(self.site.timeOut)
        super().dataReceived(data)

    def allContentReceived(self) -> None:
        """Have the request answered; it is not timed, and what was the timeout until now is so again after it."""
        # Assigned, not set: moving a timer to an earlier time is a search through all timers.
        self.timeOut = self.site.limits.keep_alive  # type: ignore[assignment]
        super().allContentReceived()

    def checkPersistence(self, request: BaseRequest, version: bytes) -> bool:
        """Have no more requests follow when the site is closing."""
        return super().checkPersistence(request, version) and not self.site.closing

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a line that is too long."""
        self._respondToBadRequestAndDisconnect()

    def _respondToBadRequestAndDisconnect(self) -> None:
        """Refuse bytes that are no request in uvicorn's words; Twisted has none."""
        self.socket.write(_NO_REQUEST)
        self.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the site."""
        super().connectionLost(reason)
        self.site.channel_closed(self)


@frozen
class Limits:
    """What clients may send.

    :param head_bytes: the largest head of a request.
    :param headers: the most headers.
    :param body_bytes: the largest body.
    :param keep_alive: seconds between a response and the connection's next request.
    """

    head_bytes: int
    headers: int
    body_bytes: int
    keep_alive: float


class Site(server.Site):
    """Serves one rank's resource.

    :param clock: measures exchanges and times out idle connections.
    :param request_ids: whether every response carries a request id.
    :param cors: what pages of other origins may do.
    """

    noisy = False
    # Twisted's own channel is wrapped in one that negotiates HTTP/2, which this server does not speak.
    protocol: Callable[[], Any] = Channel

    def __init__(
        self,
        resource: IResource,
        clock: IReactorTime,
        metrics: IHttpMetrics,
        limits: Limits,
        *,
        request_ids: bool = False,
        cors: Cors = _NO_CORS,
    ) -> None:
        super().__init__(resource, requestFactory=Request, reactor=clock, parsePOSTFormSubmission=False)
        self.clock = clock
        self.metrics = metrics
        self.limits = limits
        self.request_ids = request_ids
        self.cors = cors
        self.channels: set[Channel] = set()
        self.closing = False
        self._emptied: Deferred[None] | None = None

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Make a connection with this site's limits."""
        channel: Any = super().buildProtocol(addr)
        channel.MAX_LENGTH = channel.totalHeadersSize = self.limits.head_bytes
        channel.maxHeaders = self.limits.headers
        return channel

    def acceptableProtocols(self) -> list[bytes]:
        """List what TLS clients may choose."""
        return [b"http/1.1"]

    def log(self, request: BaseRequest) -> None:
        """Keep no access log."""

    def channel_closed(self, channel: Channel) -> None:
        """Forget a connection."""
        self.channels.discard(channel)
        if not self.channels and self._emptied is not None:
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
            if channel.requests:
                channel.persistent = False
            else:
                channel.loseConnection()
        return waiting

    def abort(self) -> None:
        """Close every connection now."""
        for channel in list(self.channels):
            channel.socket.abortConnection()
