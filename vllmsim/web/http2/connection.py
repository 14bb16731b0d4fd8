# -*- test-case-name: tests.web.http2.test_connection -*-
"""A connection of HTTP/2.

h2 knows the protocol: what may come when, heads, settings, what clients may send. How much may be sent, and the frames
that carry it, are here, so that a token costs no more than its bytes. What is written in a turn of the reactor goes to
the socket in one piece.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final

from attrs import frozen
from h2.config import H2Configuration
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, RemoteSettingsChanged, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from vllmsim.web.connection import Connection
from vllmsim.web.doorway import PREFACE
from vllmsim.web.http2 import frames
from vllmsim.web.http2.counting import CountedConnection
from vllmsim.web.http2.frames import Frame, Frames
from vllmsim.web.http2.head import Malformed, read_head
from vllmsim.web.http2.request import StreamRequest
from vllmsim.web.http2.stream import Fields, Stream
from vllmsim.web.sending import Write, hurry, write_to
from vllmsim.web.site import Site

MakeRequest = Callable[[Stream, bytes, bytes, str, Sequence[tuple[bytes, bytes]]], StreamRequest]

_STREAMS: Final = 10_000
_FRAME: Final = 1 << 16
_STREAM_WINDOW: Final = 1 << 20
_WINDOW: Final = 1 << 24
_FIRST_WINDOW: Final = 65_535
_FIELD: Final = 32
"""What each field counts beside its bytes."""
_AT_ONCE: Final = 1 << 18
"""How many bytes are written in one turn."""
_REQUESTS: Final = 16
"""How many requests are begun in one turn."""


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

    write: Write

    def __init__(self, request: MakeRequest) -> None:
        self._make = request
        self._streams: dict[int, Stream] = {}
        self._waiting: dict[Stream, None] = {}
        """Streams with something to send, whose turns come in this order."""
        self._out: list[bytes] = []
        self._held_back = 0
        self._turn: IDelayedCall | None = None
        self._rest: IDelayedCall | None = None
        self._leaving = False
        self.window = _FIRST_WINDOW
        """How many bytes the client has room for, whatever their streams."""
        self._first_window = _FIRST_WINDOW
        self._frames = Frames(_FRAME)
        self._in_block = False

    def connectionMade(self) -> None:
        """Tell the site, and the client what it may do."""
        limits = self.site.limits
        listed = limits.head_bytes + _FIELD * limits.headers
        self._h2 = h2 = CountedConnection(
            H2Configuration(
                client_side=False,
                header_encoding=None,
                validate_inbound_headers=False,
                normalize_inbound_headers=False,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        # Initial values hold at once; others only when the client has agreed, which is too late for a burst.
        h2.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: _STREAMS,
                SettingCodes.INITIAL_WINDOW_SIZE: _STREAM_WINDOW,
                SettingCodes.MAX_FRAME_SIZE: _FRAME,
                SettingCodes.MAX_HEADER_LIST_SIZE: listed,
                SettingCodes.ENABLE_PUSH: 0,
            },
        )
        h2.max_inbound_frame_size = _FRAME
        h2.decoder.max_header_list_size = listed
        # The preface is looked at before it comes here.
        h2.receive_data(PREFACE)
        h2.initiate_connection()
        h2.increment_flow_control_window(_WINDOW - _FIRST_WINDOW)
        self.write = write_to(self.socket)
        hurry(self.socket)
        self.socket.registerProducer(self, True)
        self.site.channels.add(self)
        self.site.coming.start(self)
        self._flush()

    # What comes in

    def dataReceived(self, data: bytes) -> None:
        """Take what comes."""
        if not self._closing:
            self._frames.feed(data)
            self._read_frames()

    def _read_frames(self) -> None:
        """Go through the frames that are there, but not for too long."""
        begun = 0
        try:
            while not self._closing and (frame := self._frames.next()) is not None:
                self._take(frame)
                begun += frame.kind == frames.HEADERS
                if begun >= _REQUESTS:
                    self._take_a_rest()
                    break
        except frames.NoFrames:
            self._break_off(ErrorCodes.PROTOCOL_ERROR)
        except frames.FrameTooLong:
            self._break_off(ErrorCodes.FRAME_SIZE_ERROR)
        except ProtocolError:
            # h2 has written why.
            self.loseConnection()
        self._flush()

    def _take_a_rest(self) -> None:
        """Read on in another turn."""
        if self._rest is None:
            self.socket.pauseProducing()
            self._rest = self.site.clock.callLater(0, self._rested)

    def _rested(self) -> None:
        self._rest = None
        self.socket.resumeProducing()
        self._read_frames()

    def _take(self, frame: Frame) -> None:
        """Take one frame."""
        if not self._in_block:
            if frame.kind == frames.WINDOW_UPDATE:
                self._widen(frame)
                return
            if frame.kind == frames.GOAWAY and not frame.stream and frame.length >= frames.GOODBYE_LENGTH:
                self._leaving = True
                self._close_if_left()
                return
        if frame.kind in {frames.HEADERS, frames.CONTINUATION}:
            self._in_block = not frame.flags & frames.END_HEADERS
        for event in self._h2.receive_data(frame.data):
            self._hear(event)

    def _hear(self, event: Event) -> None:
        """Learn from h2 what a frame means."""
        if isinstance(event, DataReceived):
            stream = self._streams.get(event.stream_id)
            if stream is None:
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            else:
                stream.take(event.data, event.flow_controlled_length)
        elif isinstance(event, RequestReceived):
            self._begin(event.stream_id, event.headers)
        elif isinstance(event, StreamEnded):
            stream = self._streams.get(event.stream_id)
            if stream is not None:
                stream.end()
        elif isinstance(event, StreamReset):
            stream = self._streams.get(event.stream_id)
            if stream is not None:
                self.forget(stream)
                stream.lost(Failure(ConnectionDone()))
        elif isinstance(event, RemoteSettingsChanged):
            self._change_windows(event)

    def _begin(self, number: int, fields: Any) -> None:
        """Begin an exchange."""
        limits = self.site.limits
        if len(fields) > limits.headers:
            self.reset(number, ErrorCodes.ENHANCE_YOUR_CALM)
            return
        try:
            head = read_head(fields)
        except Malformed:
            self.reset(number, ErrorCodes.PROTOCOL_ERROR)
            return
        self.site.coming.stop(self)
        self.site.resting.stop(self)
        stream = self._streams[number] = Stream(self, number, self._first_window)
        self.site.coming.start(stream)
        stream.begin(self._make(stream, head.method, head.target, "2", head.headers))

    def _widen(self, frame: Frame) -> None:
        """Learn that the client has room for more."""
        more = int.from_bytes(frame.payload, "big") & frames.LARGEST_WINDOW
        if frame.length != frames.INCREMENT_LENGTH:
            self._break_off(ErrorCodes.FRAME_SIZE_ERROR)
        elif not frame.stream:
            self.window += more
            if not more:
                self._break_off(ErrorCodes.PROTOCOL_ERROR)
            elif self.window > frames.LARGEST_WINDOW:
                self._break_off(ErrorCodes.FLOW_CONTROL_ERROR)
        elif (stream := self._streams.get(frame.stream)) is not None:
            stream.window += more
            if not more or stream.window > frames.LARGEST_WINDOW:
                self.reset(frame.stream, ErrorCodes.FLOW_CONTROL_ERROR if more else ErrorCodes.PROTOCOL_ERROR)
                self.forget(stream)
                stream.lost(Failure(ConnectionDone()))
            elif stream.waits:
                self.wait(stream)
        elif frame.stream > self._h2.highest_inbound_stream_id or not frame.stream & 1:
            self._break_off(ErrorCodes.PROTOCOL_ERROR)

    def _change_windows(self, event: RemoteSettingsChanged) -> None:
        """Learn how much room the client has in each stream."""
        changed = event.changed_settings.get(SettingCodes.INITIAL_WINDOW_SIZE)
        if changed is None:
            return
        more = changed.new_value - self._first_window
        self._first_window = changed.new_value
        for stream in self._streams.values():
            stream.window += more
            if stream.waits:
                self.wait(stream)

    def acknowledge(self, stream: Stream, size: int) -> None:
        """Have the client send more."""
        if not self._closing:
            self._h2.acknowledge_received_data(size, stream.number)
            self.flush_soon()

    # What goes out

    def may_send(self, size: int) -> bool:
        """Tell whether a frame of a length may be written at once."""
        return (
            size <= self.window
            and not self.full
            and size <= self._h2.max_outbound_frame_size
            and self._held_back < _AT_ONCE
        )

    def put(self, data: bytes) -> None:
        """Write some frames with the others of this turn."""
        if self._closing:
            return
        self._out.append(data)
        self._held_back += len(data)
        if self._turn is None:
            self.flush_soon()

    def flush_soon(self) -> None:
        """Have everything written when this turn is over."""
        if self._turn is None and not self._closing:
            self._turn = self.site.clock.callLater(0, self._flush)

    def _put_h2(self) -> None:
        """Write what h2 has to say."""
        data = self._h2.data_to_send()
        if data:
            self.put(data)

    def wait(self, stream: Stream) -> None:
        """Have a stream send when its turn comes."""
        if stream.waits and stream not in self._waiting:
            self._waiting[stream] = None
        self.site.sending.start(stream)
        self.flush_soon()

    def _send_some(self) -> None:
        """Have streams send what waits, one frame each in turns."""
        while self._waiting and not self.full and self.window > 0 and self._held_back < _AT_ONCE:
            stream = next(iter(self._waiting))
            del self._waiting[stream]
            stream.send_some(min(self.window, self._h2.max_outbound_frame_size))
            if stream.waits:
                self._waiting[stream] = None

    def _flush(self) -> None:
        """Send everything that is written."""
        turn, self._turn = self._turn, None
        if turn is not None and turn.active():
            turn.cancel()
        if self._waiting:
            self._send_some()
        data = self._h2.data_to_send()
        if data:
            self._out.append(data)
        if self._out:
            out = self._out[0] if len(self._out) == 1 else b"".join(self._out)
            self._out.clear()
            self._held_back = 0
            if not self._closing:
                self.write(out)
        if self._waiting and not self.full and self.window > 0:
            self.flush_soon()

    def send_head(self, stream: Stream, fields: Fields, *, end: bool = False) -> None:
        """Write the head or the trailers of an answer."""
        if not self._closing:
            self._h2.send_headers(stream.number, fields, end_stream=end)
            self._put_h2()

    def send_end(self, stream: Stream) -> None:
        """Write that an answer is complete."""
        if not self._closing:
            self._h2.end_stream(stream.number)
            self._put_h2()

    def reset(self, number: int, code: ErrorCodes) -> None:
        """Tell the client that a stream is over."""
        if not self._closing:
            self._h2.reset_stream(number, code)
            self._put_h2()

    def resumeProducing(self) -> None:
        """Learn that the client has read."""
        super().resumeProducing()
        for stream in list(self._streams.values()):
            stream.wake()
        self._flush()

    # Who is there

    def forget(self, stream: Stream) -> None:
        """Part with a stream."""
        stream.closed = True
        self._streams.pop(stream.number, None)
        self._waiting.pop(stream, None)
        self.site.forget(stream)
        self._close_if_left()

    def _close_if_left(self) -> None:
        """Close the connection when nobody needs it any more, or wait for the next request."""
        if self._streams or self._closing:
            return
        if self._leaving or self.site.closing:
            self.loseConnection()
        else:
            self.site.resting.start(self)

    @property
    def idle(self) -> bool:
        """Whether the client has all answers and has not begun to ask for another."""
        return not self._streams

    def drain(self) -> None:
        """Have the client send no more requests, and close the connection when it has all answers."""
        if self._closing:
            return
        self._leaving = True
        if self._streams:
            self.put(frames.goaway_frame(self._h2.highest_inbound_stream_id, ErrorCodes.NO_ERROR))
        else:
            self.loseConnection()

    def _break_off(self, code: ErrorCodes) -> None:
        """Close the connection, as the client does what it must not do."""
        if not self._closing:
            self._h2.close_connection(code)
            self.loseConnection()

    def loseConnection(self) -> None:
        """Close the connection when everything is sent, or the client reads no more."""
        if self._closing:
            return
        data = self._h2.data_to_send()
        if not data:
            data = frames.goaway_frame(self._h2.highest_inbound_stream_id, ErrorCodes.NO_ERROR)
        self._out.append(data)
        self._flush()
        super().loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell those who are concerned."""
        self._closing = True
        for call in (self._turn, self._rest):
            if call is not None and call.active():
                call.cancel()
        self._turn = self._rest = None
        streams = list(self._streams.values())
        self._streams.clear()
        self._waiting.clear()
        for stream in streams:
            stream.closed = True
            self.site.forget(stream)
            stream.lost(reason)
        self.site.channel_closed(self)
