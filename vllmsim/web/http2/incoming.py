# -*- test-case-name: tests.web.http2.test_incoming -*-
"""What comes in on a connection: frames, in slices, and what they mean.

h2 is given all but two kinds: those that make room are counted where room is (:mod:`vllmsim.web.http2.outgoing`), and
behind a goodbye it would let no stream come to its end.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    PingAckReceived,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
)
from h2.settings import SettingCodes

from vllmsim.web.http2 import frames
from vllmsim.web.http2.allowance import Allowance
from vllmsim.web.http2.frames import Broken, Frame, Frames
from vllmsim.web.http2.protocol import FIRST_WINDOW, LARGEST_FRAME, TABLE

if TYPE_CHECKING:
    from vllmsim.web.http2.connection import Http2Channel
    from vllmsim.web.http2.stream import Stream

_TURN: Final = 1024
"""How much work is done before others have their turn, each frame counting as much as it may cost."""
_WORK: Final[Mapping[int, int]] = {
    frames.HEADERS: 96,
    frames.CONTINUATION: 16,
    frames.RST_STREAM: 64,
    frames.WINDOW_UPDATE: 1,
}
_SOME_WORK: Final = 8
_RESIZED: Final = 8
"""Of how many streams the windows are changed with as much work as room is made in one."""
_PACKED: Final = 40
"""How many bytes of a head count as much as one of its fields."""


class Incoming:
    """The way in.

    :param connection: hears of what comes.
    :param head_bytes: the largest head of a request.
    :param chatter: becomes less with each frame that asks for what is no use.
    """

    def __init__(self, connection: "Http2Channel", h2: H2Connection, head_bytes: int, chatter: Allowance) -> None:
        self._connection = connection
        self._h2 = h2
        self._chatter = chatter
        self._frames = Frames(LARGEST_FRAME, head_bytes)
        self._work = 0
        self.feed = self._frames.feed
        self.window = FIRST_WINDOW
        """How many bytes the client has room for in a new stream."""

    @property
    def waits(self) -> bool:
        """Whether a frame, or a head, has begun and is not complete."""
        return self._frames.waits

    @property
    def advanced(self) -> bool:
        """Whether the latest reading went through a frame."""
        return self._work > 0

    def read(self) -> bool:
        """Go through the frames that are there, but not for too long.

        :return: whether there may be more.
        :raises Broken: when a client does what it must not do.
        :raises h2.exceptions.ProtocolError: likewise.
        """
        self._work = 0
        while self._work < _TURN:
            frame = None if self._connection.closing else self._frames.next()
            if frame is None:
                return False
            self._work += _WORK.get(frame.kind, _SOME_WORK)
            self._take(frame)
        return True

    def _take(self, frame: Frame) -> None:
        if not self._frames.in_block:
            if frame.kind == frames.WINDOW_UPDATE:
                self._widen(frame)
                return
            if frame.kind == frames.GOAWAY and not frame.stream and frame.length >= frames.GOODBYE_LENGTH:
                self._connection.leave()
                return
        vanity = frame.vanity
        if vanity and not self._chatter.spend(vanity):
            raise Broken(ErrorCodes.ENHANCE_YOUR_CALM, "too many frames that ask for nothing")
        if frame.kind in frames.OF_HEADS:
            self._work += frame.length // _PACKED
        elif frame.kind == frames.SETTINGS:
            self._work += len(self._connection.streams) // _RESIZED
        for event in self._h2.receive_data(frame.data):
            self._hear(event)

    def _hear(self, event: Event) -> None:
        """Learn from h2 what a frame means."""
        if isinstance(event, RequestReceived):
            self._work += len(event.headers)
            self._connection.begin(event.stream_id, event.headers, self.window)
        elif isinstance(event, RemoteSettingsChanged):
            self._change_settings(event)
        elif isinstance(event, PingAckReceived):
            self._connection.has_heard()
        elif isinstance(event, DataReceived | StreamEnded | StreamReset):
            stream = self._connection.streams.get(event.stream_id)
            # Its end may come with a head that was refused.
            if stream is not None:
                self._hear_of(stream, event)

    def _hear_of(self, stream: "Stream", event: DataReceived | StreamEnded | StreamReset) -> None:
        if isinstance(event, DataReceived):
            stream.take(event.data, event.flow_controlled_length)
        elif isinstance(event, StreamEnded):
            stream.end()
        else:
            self._connection.regret(stream)

    def _widen(self, frame: Frame) -> None:
        """Learn that the client has room for more."""
        if frame.length != frames.INCREMENT_LENGTH:
            raise Broken(ErrorCodes.FRAME_SIZE_ERROR, "a window is widened by no number")
        more = int.from_bytes(frame.payload, "big") & frames.LARGEST_WINDOW
        out, stream = self._connection.out, self._connection.streams.get(frame.stream)
        if not frame.stream:
            out.window += more
            if not more or out.window > frames.LARGEST_WINDOW:
                code = ErrorCodes.FLOW_CONTROL_ERROR if more else ErrorCodes.PROTOCOL_ERROR
                raise Broken(code, "the window is widened by nothing, or too much")
        elif stream is not None:
            stream.window += more
            if more and stream.window <= frames.LARGEST_WINDOW:
                out.wait(stream)
                return
            out.reset(frame.stream, ErrorCodes.FLOW_CONTROL_ERROR if more else ErrorCodes.PROTOCOL_ERROR)
            self._connection.regret(stream)
        elif frame.stream > self._h2.highest_inbound_stream_id or not frame.stream & 1:
            raise Broken(ErrorCodes.PROTOCOL_ERROR, "a window of no stream is widened")

    def _change_settings(self, event: RemoteSettingsChanged) -> None:
        """Learn how much room the client has in each stream. How much it remembers, we need not use."""
        self._work += len(self._connection.streams)
        # The client is told first that its settings are known.
        self._connection.out.put_h2()
        if SettingCodes.HEADER_TABLE_SIZE in event.changed_settings:
            encoder = self._h2.encoder
            encoder.header_table_size = min(encoder.header_table_size, TABLE)
        changed = event.changed_settings.get(SettingCodes.INITIAL_WINDOW_SIZE)
        if changed is None:
            return
        more, self.window = changed.new_value - self.window, changed.new_value
        for stream in self._connection.streams.values():
            stream.window += more
            if stream.window > frames.LARGEST_WINDOW:
                raise Broken(ErrorCodes.FLOW_CONTROL_ERROR, "a window is too large")
            self._connection.out.wait(stream)
