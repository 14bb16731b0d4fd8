# -*- test-case-name: tests.web.test_channel -*-
"""One connection: requests come in, one after another, and their answers go out in that order.

The parser is llhttp, as in the server that vLLM runs on, so that what is a request to one is a request to the other.
A request that comes while another is being answered waits, and the client is not read from until its turn. Answers are
written straight to the socket while it has room; when it has none, :attr:`Channel.full` says so, and whoever writes
waits for :meth:`Channel.room`.
"""

from typing import Final

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpRequestParser
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from vllmsim.turns import when_read
from vllmsim.web.connection import Connection
from vllmsim.web.deadlines import HEADWAY
from vllmsim.web.request import Request
from vllmsim.web.sending import Write, hurry, write_to

_NO_REQUEST: Final = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
    b"Content-Length: 30\r\n\r\nInvalid HTTP request received."
)
_LARGEST_TARGET: Final = 1 << 16
"""The largest target of a request: what is in it is parsed at once."""
_AT_ONCE: Final = 32
"""How many requests that came together are answered in one turn of the reactor."""
_TLS: Final = b"\x16\x03"
"""How a handshake begins."""
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class _TooMuch(Exception):
    """What a client sends is beyond the limits."""


class Channel(Connection):
    """One connection."""

    _log = Logger()

    write: Write
    """Sends bytes behind those that were sent before."""
    _coming: Request | None = None
    _head: "list[tuple[bytes, bytes]] | None" = None
    _head_bytes = 0
    _fed = 0
    """Bytes since the head began, it was complete, or the latest of the body came."""
    _headway = 0
    _target = b""
    _served: Request | None = None
    _room: Deferred[None] | None = None
    _deaf = False
    _refused = False
    _choosing = False
    _mute = False
    _had_one = False
    _awaited = False
    """Whether the client is to be told to go on when all before is answered."""

    def connectionMade(self) -> None:
        """Tell the site."""
        self._parser = HttpRequestParser(self)
        self._waiting: list[Request] = []
        self.write = write_to(self.socket)
        hurry(self.socket)
        self.socket.registerProducer(self, True)
        self.site.channels.add(self)
        self.site.coming.start(self)

    # What comes in

    def dataReceived(self, data: bytes) -> None:
        """Read a piece of a request."""
        if self._deaf:
            return
        self.site.resting.stop(self)
        if self._mid_request:
            self._fed += len(data)
        try:
            self._parse(data)
            self._check_rest()
        except (HttpParserError, _TooMuch) as error:
            if isinstance(error, HttpParserCallbackError) and not isinstance(error.__context__, _TooMuch):
                self._log.failure("While reading a request")
            if data.startswith(_TLS):
                self._log.debug("A client speaks TLS, where there is none.")
            self._refused = not self._deaf
            self._deaf = True
        self._serve_next()

    def _parse(self, data: bytes) -> None:
        while data:
            try:
                self._parser.feed_data(data)
            except HttpParserUpgrade as upgrade:
                if self._head is None:
                    # Nothing here is a tunnel, and what is sent into one is no request.
                    self._deaf = True
                    return
                data = self._without_upgrade(self._head) + data[upgrade.args[0] :]
                self._parser = HttpRequestParser(self)
            else:
                return

    def _without_upgrade(self, head: "list[tuple[bytes, bytes]]") -> bytes:
        """Write the head that was just read as that of a request which offers no other protocol.

        Nothing is upgraded here, but the parser stops behind such a head and takes what follows for the other protocol.
        """
        parser, kept = self._parser, [pair for pair in head if pair[0].lower() != b"upgrade"]
        lines = [b"%b %b HTTP/%b" % (parser.get_method(), self._target, parser.get_http_version().encode())]
        return b"\r\n".join([*lines, *map(b": ".join, kept), b"", b""])

    def on_message_begin(self) -> None:
        """Learn that a request begins."""
        if self._deaf:
            raise _TooMuch
        self._target, self._head, self._head_bytes, self._fed = b"", [], 0, 0
        self._headway = HEADWAY

    def on_url(self, piece: bytes) -> None:
        """Take a piece of the target."""
        self._target += piece
        if len(self._target) > _LARGEST_TARGET:
            raise _TooMuch
        self._head_bytes = max(self._head_bytes, len(self._target))
        self._check_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer, which nobody asks for."""
        if self._head is not None:
            self._head.append((name, value))
            self._head_bytes += len(name) + len(value)
            self._check_head()

    def _check_head(self) -> None:
        limits, head = self.site.limits, self._head
        if self._head_bytes > limits.head_bytes or (head is not None and len(head) > limits.headers):
            raise _TooMuch

    def _check_rest(self) -> None:
        # What has begun is then all that was fed: a line without an end, or one behind a body.
        if self._mid_request and self._fed > self.site.limits.head_bytes:
            raise _TooMuch

    def on_headers_complete(self) -> None:
        """Make the request."""
        parser = self._parser
        assert self._head is not None
        if parser.should_upgrade() and parser.get_method() != b"CONNECT":
            return
        request = self._coming = Request(self, parser.get_method(), self._target, parser.get_http_version(), self._head)
        self._head, self._head_bytes, self._fed = None, 0, 0
        if request.expects and not request.chain.admits(request):
            request.hopeless = True
        if request.hopeless:
            self._give_up(request)
        elif request.expects and not self._busy:
            self.write(_CONTINUE)
        else:
            self._awaited = request.expects

    def on_body(self, piece: bytes) -> None:
        """Take a piece of the body."""
        request = self._coming
        self._fed, self._awaited = 0, False
        self._headway += len(piece)
        if request is not None:
            request.take(piece)
            if request.hopeless:
                self._give_up(request)

    def _give_up(self, request: Request) -> None:
        """Read no more of a request, nor of what follows: the answer says why."""
        self._deaf = True
        self._coming = None
        self._waiting.append(request)

    def on_message_complete(self) -> None:
        """Have the request answered in its turn."""
        request, self._coming = self._coming, None
        if request is not None:
            request.persistent = self._parser.should_keep_alive() and request.method != b"CONNECT"
            self._waiting.append(request)

    # Who is answered

    @property
    def _busy(self) -> bool:
        return self._served is not None or bool(self._waiting)

    @property
    def _mid_request(self) -> bool:
        return self._coming is not None or self._head is not None

    @property
    def idle(self) -> bool:
        """Whether the client has all answers and has not begun to ask for another."""
        return not (self._busy or self._mid_request or self._refused)

    @property
    def _may_serve(self) -> bool:
        return bool(self._waiting) and self._served is None and not self.full and not self._closing

    @property
    def closing(self) -> bool:
        """Whether the connection is closed behind the answer that is being written."""
        return self.site.closing and not self._waiting

    def dismiss(self) -> None:
        """Tell a client who has no answer yet that the server stops; close the connection now if that is too late."""
        served, coming = self._served, self._coming
        if served is not None and not served.startedWriting:
            served.dismiss()
        elif served is None and coming is not None:
            coming.hopeless = True
            self._give_up(coming)
            self._serve_next()
        elif self._head is not None and not self._busy:
            self.loseConnection()
        else:
            self.abort()

    def _serve_next(self) -> None:
        """Answer what waits, one after another; read on when nothing waits."""
        if self._choosing:
            return
        self._choosing = True
        count = 0
        while self._may_serve and count < _AT_ONCE:
            count += 1
            self._served = self._waiting.pop(0)
            self.site.coming.stop(self)
            self._served.process()
        self._choosing = False
        if self._may_serve:
            self.site.clock.callLater(0, self._serve_next)
        if not self._closing:
            self._read_if(nothing_waits=not self._waiting)
            if not self._busy:
                self._rest()

    def _read_if(self, *, nothing_waits: bool) -> None:
        """Read from the client, or have it wait."""
        if nothing_waits is self._mute:
            self._mute = not nothing_waits
            if nothing_waits:
                self.socket.resumeProducing()
            else:
                self.socket.pauseProducing()

    def _rest(self) -> None:
        """Wait for the client, who has all answers."""
        if self._awaited and self._coming is not None:
            self._awaited = False
            self.write(_CONTINUE)
        if self._refused:
            self.write(_NO_REQUEST)
            self.loseConnection()
        elif self._mid_request and self._headway >= HEADWAY:
            self._headway = 0
            self.site.coming.start(self)
        elif self._mid_request:
            self.site.coming.keep(self)
        elif self.site.closing:
            # What has come meanwhile is read before: a connection that is closed in front of it is reset.
            when_read(self.site.clock, self.drain)
        elif self._had_one:
            self.site.resting.start(self)

    def requestDone(self, request: Request) -> None:
        """Learn that an answer is complete."""
        self._served = None
        self._had_one = True
        if request.persistent:
            self._serve_next()
        else:
            self.loseConnection()

    # What goes out

    def room(self) -> Deferred[None]:
        """Wait until the client has read enough for more to be written.

        :return: fires then, at once if there is room; never when the connection is lost before.
        """
        if not self.full:
            return succeed(None)
        self._room = Deferred()
        return self._room

    def resumeProducing(self) -> None:
        """Learn that the client has read."""
        super().resumeProducing()
        room, self._room = self._room, None
        if room is not None and not room.called:
            room.callback(None)
        if not self.full:
            self._serve_next()

    def loseConnection(self) -> None:
        """Close the connection when everything is sent, or the client reads no more."""
        self._deaf = True
        super().loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell those who are concerned."""
        self._closing = self._deaf = True
        # It refers to this, and would keep it until the collector of garbage comes by.
        del self._parser
        for request in (self._served, *self._waiting, self._coming):
            if request is not None:
                request.connectionLost(reason)
        self._served = self._coming = None
        self._waiting.clear()
        self.site.channel_closed(self)
