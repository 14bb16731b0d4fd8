# -*- test-case-name: tests.web.http2.test_connection -*-
"""A connection of HTTP/2: its streams, and how it ends.

h2 knows the protocol: what may come when, heads, settings, and how much clients may send. What is malformed in one
request ends its stream; what breaks the protocol ends the connection, and so does a client that sends too much of what
is no use: streams that are cancelled before they are answered, and frames that ask for nothing.
"""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, ClassVar, Final

from attrs import define, field
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from vllmsim.turns import when_read
from vllmsim.web.connection import Connection
from vllmsim.web.http2 import frames
from vllmsim.web.http2.allowance import Allowance
from vllmsim.web.http2.burden import Burden
from vllmsim.web.http2.endofturn import EndOfTurn
from vllmsim.web.http2.frames import Broken
from vllmsim.web.http2.head import FIELD, Malformed, read_head, size_of
from vllmsim.web.http2.incoming import Incoming
from vllmsim.web.http2.outgoing import Outgoing
from vllmsim.web.http2.protocol import STREAMS, speak
from vllmsim.web.http2.request import StreamRequest
from vllmsim.web.http2.stream import Stream
from vllmsim.web.sending import hurry, keep_alive, write_to
from vllmsim.web.site import Site

MakeRequest = Callable[[Stream, bytes, bytes, str, Sequence[tuple[bytes, bytes]]], StreamRequest]

_LARGEST_HEAD: Final = 1 << 16
"""The largest head, also where HTTP/1.1 allows more: it takes some 10 ms to read."""
_BACKLOG: Final = 1 << 24
"""How much may wait for a client to read it while it asks for more."""
_CHATTER: Final = (1000, 100)
"""How many frames that ask for nothing may come at once, and per second; each piece of an answer makes it one more."""
_REGRETS: Final = (5000, 500)
"""How many streams may come to nothing at once, and per second."""
_DEAF: Final = 1 << 16
"""How many bytes are read from a client that does not read."""
_LOST_AT_ONCE: Final = 32
"""How many streams of a connection that is lost end in one turn."""


@define(eq=False)
class Http2:
    """What speaks HTTP/2.

    :param request: makes requests, given a stream, method, target, version and headers.
    """

    request: MakeRequest = StreamRequest
    _end: EndOfTurn | None = field(init=False, default=None)

    def connect(self, site: Site) -> "Http2Channel":
        """Make a connection of a site, which is the same whenever this is called."""
        if self._end is None:
            self._end = EndOfTurn(site.clock)
        channel = Http2Channel(self.request, self._end)
        channel.site = site
        return channel


class Http2Channel(Connection):
    """One connection, and its streams.

    :param request: makes requests.
    :param end: comes when a turn of the reactor is over.
    """

    _log: ClassVar[Logger] = Logger()

    out: Outgoing
    """What goes to the client."""
    _rest: IDelayedCall | None = None
    _had_one = False
    _lasting = False
    _leaving = False
    _parting = False
    _muted = False
    _heard_in_vain = 0
    _listens = True

    def __init__(self, request: MakeRequest, end: EndOfTurn) -> None:
        self._make = request
        self.burden = Burden()
        self._end = end
        self.streams: dict[int, Stream] = {}
        """Those that are open, by their numbers."""

    def connectionMade(self) -> None:
        """Tell the site, and the client what it may do."""
        site, limits = self.site, self.site.limits
        head_bytes = min(limits.head_bytes + FIELD * limits.headers, _LARGEST_HEAD)
        chatter = Allowance(site.clock, *_CHATTER)
        self._regrets = Allowance(site.clock, *_REGRETS)
        self._h2 = speak(head_bytes)
        self.out = Outgoing(self._end, self._h2, write_to(self.socket), chatter)
        self._incoming = Incoming(self, self._h2, head_bytes, chatter)
        hurry(self.socket)
        self.socket.registerProducer(self, True)
        site.channels.add(self)
        site.coming.start(self)
        self.out.flush()

    # What comes in

    def dataReceived(self, data: bytes) -> None:
        """Take what comes."""
        if self._closing:
            return
        self._incoming.feed(data)
        if self.full:
            self._heard_in_vain += len(data)
            self._muted = self._heard_in_vain > _DEAF
        if self._rest is None:
            self._read_frames()
        self._listen()

    def _listen(self) -> None:
        """Read from the client, or have it wait."""
        listens = self._rest is None and not self._muted
        if listens is not self._listens and not self._closing:
            self._listens = listens
            if listens:
                self.socket.resumeProducing()
            else:
                self.socket.pauseProducing()

    def _read_frames(self) -> None:
        """Go through the frames that are there, as many as may be in one turn."""
        more = False
        self.out.held = True
        try:
            more = self._incoming.read()
        except Broken as error:
            self._break_off(error.code, str(error))
        except ProtocolError as error:
            self._break_off(error.error_code, str(error))
        except Exception:  # noqa: BLE001 - a bug must cost no more than its connection
            self._log.failure("While reading from a client of HTTP/2")
            self._break_off(ErrorCodes.INTERNAL_ERROR, "an error of the server's")
        self.out.held = False
        if self._closing:
            return
        self.out.flush()
        if more:
            self._rest = self.site.clock.callLater(0, self._read_on)
        elif self._incoming.waits and self._incoming.advanced:
            self.site.coming.start(self)
        elif self._incoming.waits:
            self.site.coming.keep(self)
        elif self._had_one:
            self.site.coming.stop(self)

    def _read_on(self) -> None:
        self._rest = None
        self._read_frames()
        self._listen()

    def begin(self, number: int, fields: Any, window: int) -> None:
        """Begin an exchange.

        :param number: what its stream is called in frames.
        :param fields: the head, as it came.
        :param window: how many bytes of an answer the client has room for.
        """
        size = size_of(fields)
        room = len(self.streams) < STREAMS and self.burden.admits(size) and self.out.backlog <= _BACKLOG
        if self._leaving or (self.streams and not room):
            self.out.reset(number, ErrorCodes.REFUSED_STREAM)
            return
        try:
            head = read_head(fields, self.site.limits.headers)
        except Malformed:
            self.out.reset(number, ErrorCodes.PROTOCOL_ERROR)
            self._spend_regret()
            return
        self._had_one = True
        self.site.coming.stop(self)
        self.site.resting.stop(self)
        stream = self.streams[number] = Stream(self, number, window, size)
        request = self._make(stream, head.method, head.target, "2", head.headers)
        if request.lasting and not self._lasting:
            self._lasting = True
            keep_alive(self.socket)
        stream.begin(request)

    def regret(self, stream: Stream) -> None:
        """Learn that a stream has come to nothing."""
        if not stream.answered:
            self._spend_regret()
        self.forget(stream)
        stream.lost(Failure(ConnectionDone()))

    def _spend_regret(self) -> None:
        if not self._regrets.spend():
            raise Broken(ErrorCodes.ENHANCE_YOUR_CALM, "too many streams that come to nothing")

    # What goes out

    def pauseProducing(self) -> None:
        """Learn that the client reads too slowly."""
        super().pauseProducing()
        self.out.full = self.full

    def resumeProducing(self) -> None:
        """Learn that the client has read."""
        super().resumeProducing()
        self.out.full = self._muted = False
        self._heard_in_vain = 0
        self.out.held = True
        for stream in list(self.streams.values()):
            stream.wake()
        self.out.held = False
        self.out.flush()
        self._listen()

    # Who is there, and how it ends

    @property
    def closing(self) -> bool:
        """Whether nothing is read any more."""
        return self._closing

    def leave(self) -> None:
        """Learn that the client wants nothing but the answers that are to come."""
        self._leaving = True
        self._rest_or_leave()

    def forget(self, stream: Stream) -> None:
        """Part with a stream."""
        stream.close()
        self.streams.pop(stream.number, None)
        self._rest_or_leave()

    def _rest_or_leave(self) -> None:
        """Close the connection when nobody needs it any more, or wait for the next request."""
        if self.streams or self._closing:
            return
        if self._leaving:
            self.loseConnection()
        elif self.site.closing:
            # What has come meanwhile is read before: a connection that is closed in front of it is reset.
            when_read(self.site.clock, self.drain)
        elif not self._lasting:
            self.site.resting.start(self)

    @property
    def idle(self) -> bool:
        """Whether the client has all answers, and all that it has sent so far is read."""
        return not self.streams and self._rest is None

    def drain(self) -> None:
        """Have the client send no more requests, and close the connection when it has all answers.

        Requests may be on their way. Not to refuse these, as some clients cannot bear that, the first goodbye is for
        none of them, and a ping tells when the client has heard it.
        """
        for stream in [each for each in self.streams.values() if each.complete]:
            stream.loseConnection()
        if self.idle:
            self.loseConnection()
        elif not self.streams:
            when_read(self.site.clock, self.drain)
        elif not self._parting:
            self._parting = True
            goodbye = frames.goaway_frame(frames.LARGEST_NUMBER, ErrorCodes.NO_ERROR)
            self.out.put_other(goodbye + frames.ping_frame())

    def has_heard(self) -> None:
        """Learn that the client has heard all so far: after a goodbye it sends no more requests."""
        if self.site.closing and not self._leaving:
            self._leaving = True
            self.out.put_other(frames.goaway_frame(self._h2.highest_inbound_stream_id, ErrorCodes.NO_ERROR))

    def dismiss(self) -> None:
        """Close the connection; clients who have no answer yet are told that the server stops."""
        for stream in list(self.streams.values()):
            stream.dismiss()
        self.loseConnection()

    def _break_off(self, code: int, why: str) -> None:
        """Close the connection, as the client does what it must not do."""
        self._log.debug("A client of HTTP/2 is sent away: {why}.", why=why)
        self._part(code)

    def loseConnection(self) -> None:
        """Close the connection when everything is sent, or the client reads no more."""
        if not self._closing:
            self._part(ErrorCodes.NO_ERROR)

    def _part(self, code: int) -> None:
        """Say goodbye."""
        for stream in self.streams.values():
            stream.close()
        self._h2.clear_outbound_data_buffer()
        self.out.put_other(frames.goaway_frame(self._h2.highest_inbound_stream_id, code))
        self.out.close()
        super().loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell those who are concerned."""
        self._closing = True
        self.out.close()
        # It refers to this, and would keep it until the collector of garbage comes by.
        del self._incoming
        if self._rest is not None:
            self._rest.cancel()
        for stream in self.streams.values():
            stream.close()
        self._lose(reason)

    def _lose(self, reason: Failure) -> None:
        """Tell who answers, of as many streams as may be in one turn; the site knows the connection till then."""
        for number in list(islice(self.streams, _LOST_AT_ONCE)):
            self.streams.pop(number).lost(reason)
        if self.streams:
            self.site.clock.callLater(0, self._lose, reason)
        else:
            self.site.channel_closed(self)
