# -*- test-case-name: tests.web.http2.test_connection -*-
"""A connection of HTTP/2: what comes in, whose it is, and how the connection ends.

h2 knows the protocol: what may come when, heads, settings, and how much clients may send. What is malformed in one
request ends its stream; what breaks the protocol ends the connection, and so does a client that sends too much of what
is no use: streams that are cancelled before they are answered, and frames that ask for nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final

from attrs import frozen
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, RemoteSettingsChanged, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from vllmsim.web.connection import Connection
from vllmsim.web.http2 import frames
from vllmsim.web.http2.allowance import Allowance
from vllmsim.web.http2.frames import Broken, Frame, Frames
from vllmsim.web.http2.head import Malformed, read_head
from vllmsim.web.http2.outgoing import Outgoing
from vllmsim.web.http2.protocol import FIRST_WINDOW, LARGEST_FRAME, STREAMS, TABLE, speak
from vllmsim.web.http2.request import StreamRequest
from vllmsim.web.http2.stream import Stream
from vllmsim.web.sending import hurry, write_to
from vllmsim.web.site import Site

MakeRequest = Callable[[Stream, bytes, bytes, str, Sequence[tuple[bytes, bytes]]], StreamRequest]

_LARGEST_HEAD: Final = 1 << 16
"""The largest head, also where HTTP/1.1 allows more: it takes some 10 ms to read."""
_FIELD: Final = 32
"""What each field of a head counts beside its bytes."""
_TURN: Final = 1024
"""How much work is done before others have their turn, each frame counting as much as it may cost."""
_WORK: Final[Mapping[int, int]] = {frames.HEADERS: 64, frames.CONTINUATION: 16, frames.WINDOW_UPDATE: 1}
_SOME_WORK: Final = 8
_DEAF: Final = 1 << 16
"""How many bytes are read from a client that does not read."""
_SETTING: Final = 6


@frozen
class Http2:
    """What speaks HTTP/2.

    :param request: makes requests, given a stream, method, target, version and headers.
    """

    request: MakeRequest = StreamRequest

    def connect(self, site: Site) -> "Http2Channel":
        """Make a connection of a site."""
        channel = Http2Channel(self.request)
        channel.site = site
        return channel


class Http2Channel(Connection):
    """One connection, and its streams.

    :param request: makes requests.
    """

    _log: ClassVar[Logger] = Logger()

    out: Outgoing
    """What goes to the client."""
    _rest: IDelayedCall | None = None
    _had_one = False
    _lasting = False
    _leaving = False
    _muted = False
    _heard_in_vain = 0
    _listens = True

    def __init__(self, request: MakeRequest) -> None:
        self._make = request
        self._streams: dict[int, Stream] = {}
        self._window = FIRST_WINDOW

    def connectionMade(self) -> None:
        """Tell the site, and the client what it may do."""
        site, limits = self.site, self.site.limits
        self._head_bytes = min(limits.head_bytes + _FIELD * limits.headers, _LARGEST_HEAD)
        self._frames = Frames(LARGEST_FRAME, self._head_bytes)
        self._chatter = Allowance(site.clock, 1000, 100)
        self._regrets = Allowance(site.clock, 5000, 500)
        self._h2 = speak(self._head_bytes)
        self.out = Outgoing(site.clock, self._h2, write_to(self.socket), self._chatter)
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
        self._frames.feed(data)
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
        """Go through the frames that are there, but not for too long."""
        work = 0
        self.out.held = True
        try:
            while work < _TURN and not self._closing and (frame := self._frames.next()) is not None:
                work += _WORK.get(frame.kind, _SOME_WORK)
                self._take(frame)
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
        if work >= _TURN:
            self._rest = self.site.clock.callLater(0, self._read_on)
        elif self._frames.waits:
            self.site.coming.start(self)
        elif self._had_one:
            self.site.coming.stop(self)

    def _read_on(self) -> None:
        self._rest = None
        self._read_frames()
        self._listen()

    def _take(self, frame: Frame) -> None:
        """Take one frame."""
        if not self._frames.in_block:
            if frame.kind == frames.WINDOW_UPDATE:
                self._widen(frame)
                return
            if frame.kind == frames.GOAWAY and not frame.stream and frame.length >= frames.GOODBYE_LENGTH:
                self._leaving = True
                self._rest_or_leave()
                return
        if not frame.useful and not self._chatter.spend(1 + frame.length // _SETTING):
            raise Broken(ErrorCodes.ENHANCE_YOUR_CALM, "too many frames that ask for nothing")
        for event in self._h2.receive_data(frame.data):
            self._hear(event)

    def _hear(self, event: Event) -> None:
        """Learn from h2 what a frame means."""
        if isinstance(event, RequestReceived):
            self._begin(event.stream_id, event.headers)
        elif isinstance(event, RemoteSettingsChanged):
            self._change_settings(event)
        elif isinstance(event, DataReceived | StreamEnded | StreamReset):
            stream = self._streams.get(event.stream_id)
            if isinstance(event, DataReceived):
                if stream is None:
                    self.out.acknowledge(event.stream_id, event.flow_controlled_length)
                else:
                    stream.take(event.data, event.flow_controlled_length)
            elif stream is not None:
                if isinstance(event, StreamEnded):
                    stream.end()
                else:
                    self._regret(stream)

    def _begin(self, number: int, fields: Any) -> None:
        """Begin an exchange."""
        if self._leaving or len(self._streams) >= STREAMS:
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
        stream = self._streams[number] = Stream(self, number, self._window)
        request = self._make(stream, head.method, head.target, "2", head.headers)
        self._lasting = self._lasting or request.lasting
        stream.begin(request)

    def _regret(self, stream: Stream) -> None:
        """Learn that a stream has come to nothing."""
        if not stream.answered:
            self._spend_regret()
        self.forget(stream)
        stream.lost(Failure(ConnectionDone()))

    def _spend_regret(self) -> None:
        if not self._regrets.spend():
            raise Broken(ErrorCodes.ENHANCE_YOUR_CALM, "too many streams that come to nothing")

    def _widen(self, frame: Frame) -> None:
        """Learn that the client has room for more."""
        if frame.length != frames.INCREMENT_LENGTH:
            raise Broken(ErrorCodes.FRAME_SIZE_ERROR, "a window is widened by no number")
        more = int.from_bytes(frame.payload, "big") & frames.LARGEST_WINDOW
        stream = self._streams.get(frame.stream)
        if not frame.stream:
            self.out.window += more
            if not more or self.out.window > frames.LARGEST_WINDOW:
                code = ErrorCodes.FLOW_CONTROL_ERROR if more else ErrorCodes.PROTOCOL_ERROR
                raise Broken(code, "the window is widened by nothing, or too much")
        elif stream is not None:
            stream.window += more
            if more and stream.window <= frames.LARGEST_WINDOW:
                self.out.wait(stream)
                return
            self.out.reset(frame.stream, ErrorCodes.FLOW_CONTROL_ERROR if more else ErrorCodes.PROTOCOL_ERROR)
            self._regret(stream)
        elif frame.stream > self._h2.highest_inbound_stream_id or not frame.stream & 1:
            raise Broken(ErrorCodes.PROTOCOL_ERROR, "a window of no stream is widened")

    def _change_settings(self, event: RemoteSettingsChanged) -> None:
        """Learn how much room the client has in each stream. How much it remembers, we need not use."""
        # The client is told first that its settings are known.
        self.out.put_h2()
        if SettingCodes.HEADER_TABLE_SIZE in event.changed_settings:
            encoder = self._h2.encoder
            encoder.header_table_size = min(encoder.header_table_size, TABLE)
        changed = event.changed_settings.get(SettingCodes.INITIAL_WINDOW_SIZE)
        if changed is None:
            return
        more, self._window = changed.new_value - self._window, changed.new_value
        for stream in self._streams.values():
            stream.window += more
            if stream.window > frames.LARGEST_WINDOW:
                raise Broken(ErrorCodes.FLOW_CONTROL_ERROR, "a window is too large")
            self.out.wait(stream)

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
        for stream in list(self._streams.values()):
            if self.full:
                break
            stream.wake()
        self.out.held = False
        self.out.flush()
        self._listen()

    # Who is there, and how it ends

    def forget(self, stream: Stream) -> None:
        """Part with a stream."""
        stream.close()
        self._streams.pop(stream.number, None)
        self.site.forget(stream)
        self._rest_or_leave()

    def _rest_or_leave(self) -> None:
        """Close the connection when nobody needs it any more, or wait for the next request."""
        if self._streams or self._closing:
            return
        if self._leaving or self.site.closing:
            self.loseConnection()
        elif not self._lasting:
            self.site.resting.start(self)

    @property
    def idle(self) -> bool:
        """Whether the client has all answers."""
        return not self._streams

    def drain(self) -> None:
        """Have the client send no more requests, and close the connection when it has all answers."""
        self._leaving = True
        if self._streams and not self._closing:
            self.out.put(frames.goaway_frame(self._h2.highest_inbound_stream_id, ErrorCodes.NO_ERROR))
        else:
            self.loseConnection()

    def _break_off(self, code: int, why: str) -> None:
        """Close the connection, as the client does what it must not do."""
        if not self._closing:
            self._log.debug("A client of HTTP/2 is sent away: {why}.", why=why)
            self._part(code)

    def loseConnection(self) -> None:
        """Close the connection when everything is sent, or the client reads no more."""
        if not self._closing:
            self._part(ErrorCodes.NO_ERROR)

    def _part(self, code: int) -> None:
        """Say goodbye."""
        for stream in self._streams.values():
            stream.close()
            self.site.forget(stream)
        self._h2.clear_outbound_data_buffer()
        self.out.put(frames.goaway_frame(self._h2.highest_inbound_stream_id, code))
        self.out.close()
        super().loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell those who are concerned."""
        self._closing = True
        self.out.close()
        if self._rest is not None:
            self._rest.cancel()
        streams = list(self._streams.values())
        self._streams.clear()
        for stream in streams:
            stream.close()
            self.site.forget(stream)
            stream.lost(reason)
        self.site.channel_closed(self)
