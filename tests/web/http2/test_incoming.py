"""What comes in on connections of HTTP/2, whatever it is."""

from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    ExtensionFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.http2client import Http2Client
from tests.web.http2.test_connection import FIELDS, ConnectionTestCase, head
from vllmsim.web.http2 import burden, connection


class HostileTests(ConnectionTestCase):
    """Clients that do what they must not, or too much of it. Other connections are none the worse."""

    def tearDown(self) -> None:
        """See that others are served, that nothing is left, and that nothing was logged."""
        self.assertEqual(b"/b \n", Http2Client(self.site).send("GET", "/b").body)
        if self.closed:
            self.client.drop()
            self.assertFalse(self.client.protocol._channel)
            self.assertTrue(all(request.gone for request in self.library.later))
        self.assertEqual([], self.flushLoggedErrors())
        super().tearDown()

    def break_off(self, code: ErrorCodes, *frames: Frame) -> None:
        """Send frames that end a connection."""
        self.client = Http2Client(self.site)
        self.later()
        self.send(*frames)
        self.assertEqual(([code], True), (self.errors, self.closed), frames)
        self.client.drop()

    def test_protocol(self) -> None:
        """What breaks the protocol ends the connection, and says how it was broken."""
        wrong: dict[ErrorCodes, list[Frame]] = {
            ErrorCodes.PROTOCOL_ERROR: [
                PushPromiseFrame(1, 2, b"", flags=["END_HEADERS"]),
                ContinuationFrame(1, b""),
                WindowUpdateFrame(9, 1),
                WindowUpdateFrame(2, 1),
                DataFrame(9, b"x"),
                head(2),
                PriorityFrame(3, depends_on=3),
            ],
            ErrorCodes.FLOW_CONTROL_ERROR: [WindowUpdateFrame(0, (1 << 31) - 1)],
        }
        for code, frames in wrong.items():
            for frame in frames:
                self.break_off(code, frame)

    def test_sizes(self) -> None:
        """Frames that are too long, or not as long as they must be, end the connection."""
        for data in (b"\1\0\1\0\0\0\0\0\1", b"\0\0\3\x08\0\0\0\0\0abc", b"\0\0\7\6\0\0\0\0\0abcdefg"):
            self.client = Http2Client(self.site)
            self.client.send_bytes(data)
            self.assertEqual(([ErrorCodes.FRAME_SIZE_ERROR], True), (self.errors, self.closed))

    def test_nothing_more_is_heard(self) -> None:
        """Who has been sent away is not heard any more."""
        self.send(ContinuationFrame(1, b""), head(1, FIELDS, "END_STREAM"))
        self.send(head(1, FIELDS, "END_STREAM"))
        self.assertEqual(1, len(self.errors))

    def test_windows(self) -> None:
        """A window that grows too large, or by nothing, ends its stream."""
        for more, code in (((1 << 31) - 1, ErrorCodes.FLOW_CONTROL_ERROR), (0, ErrorCodes.PROTOCOL_ERROR)):
            stream = self.later()
            data = b"\0\0\4\x08\0" + stream.number.to_bytes(4, "big") + more.to_bytes(4, "big")
            self.client.send_bytes(data)
            self.assertEqual((code, True), (stream.reset, self.library.later[-1].gone))
        stream = self.later()
        self.send(WindowUpdateFrame(stream.number, (1 << 31) - 70_000))
        self.send(SettingsFrame(settings={SettingsFrame.INITIAL_WINDOW_SIZE: 80_000}))
        self.assertEqual([ErrorCodes.FLOW_CONTROL_ERROR], self.errors)

    def test_nothing_wide(self) -> None:
        """A connection's window that grows by nothing ends it."""
        self.client.send_bytes(b"\0\0\4\x08\0\0\0\0\0\0\0\0\0")
        self.assertEqual([ErrorCodes.PROTOCOL_ERROR], self.errors)

    def test_more_than_there_is_room_for(self) -> None:
        """A body that does not wait for room ends the connection."""
        stream = self.client.begin("POST", "/later")
        self.site.limits = self.site.limits
        self.client.protocol._channel.out.full = True
        for _ in range(18):
            self.send(DataFrame(stream.number, b"x" * 65_536))
        self.assertEqual([ErrorCodes.FLOW_CONTROL_ERROR], self.errors)

    def test_closed_streams(self) -> None:
        """Frames on streams that are over are no matter, unless they should know better."""
        over, cancelled = self.client.send("GET", "/a").number, self.later().cancel().number
        for number in (over, cancelled):
            self.send(WindowUpdateFrame(number, 1), PriorityFrame(number), RstStreamFrame(number))
        self.send(DataFrame(cancelled, b"x"))
        self.assertEqual([], self.errors)
        self.send(head(over, FIELDS, "END_STREAM"))
        self.assertEqual([ErrorCodes.STREAM_CLOSED], self.errors)

    def test_behind_the_end(self) -> None:
        """A body, or another head, behind the end of a request ends its stream."""
        stream = self.later()
        other = self.later()
        self.send(DataFrame(stream.number, b"x"), head(other.number))
        self.assertEqual([ErrorCodes.STREAM_CLOSED] * 2, [stream.reset, other.reset])
        self.assertEqual(([], [True, True]), (self.errors, [request.gone for request in self.library.later]))

    def test_unknown_frames(self) -> None:
        """Frames that nobody knows are passed over."""
        self.client.send_bytes(b"\0\0\x64\x42\0\0\0\0\0" + b"x" * 100 + b"\0\0\1\xfe\xff\0\0\0\5x")
        self.assertEqual(b"/a \n", self.client.send("GET", "/a").body)

    def test_rapid_reset(self) -> None:
        """Who opens streams and cancels them at once may do so thousands of times, and then is sent away."""
        rounds = 0
        while not self.errors:
            first = 1 + 2000 * rounds
            numbers = range(first, first + 2000, 2)
            self.send(*[f for number in numbers for f in (head(number), RstStreamFrame(number))])
            rounds += 1
            self.assertLess(rounds, 7)
        self.assertEqual(([ErrorCodes.ENHANCE_YOUR_CALM], 6), (self.errors, rounds))

    def test_cancelled_answers(self) -> None:
        """Who cancels answers that have begun may do so all day."""
        for _ in range(20):
            for _ in range(300):
                self.later()
            for request in self.library.later:
                request.write(b"some")
            for stream in self.client.streams.values():
                self.client.h2.reset_stream(stream.number)
            self.client.pump()
            self.client.streams.clear()
            self.library.later.clear()
        self.assertEqual([], self.errors)

    def test_floods(self) -> None:
        """Who sends frames without end that ask for nothing is sent away."""
        settings = SettingsFrame(settings=dict.fromkeys(range(100, 200), 1))
        for frame, most in (
            (PingFrame(0), 2000),
            (SettingsFrame(), 2000),
            (settings, 20),
            (PriorityFrame(1), 2000),
            (ExtensionFrame(0x42, 0), 2000),
            (DataFrame(1), 2000),
        ):
            self.client = Http2Client(self.site)
            self.client.begin("POST", "/b")
            count = 0
            while not self.errors and count < most:
                self.send(*[frame] * 10)
                count += 10
            self.assertEqual(([ErrorCodes.ENHANCE_YOUR_CALM], True), (self.errors, self.closed), frame)

    def test_pings_of_who_is_served(self) -> None:
        """Who measures the way while answers come may ping for each of their pieces."""
        self.later()
        for _ in range(3000):
            self.library.later[0].write(b"x")
            self.send(PingFrame(0))
        self.assertEqual([], self.errors)

    def test_endless_head(self) -> None:
        """A head that goes on and on is too large, or in too many frames."""
        for piece, code in ((b"x" * 1000, ErrorCodes.ENHANCE_YOUR_CALM), (b"", ErrorCodes.PROTOCOL_ERROR)):
            self.client = Http2Client(self.site)
            self.send(HeadersFrame(1, b""))
            count = 0
            while not self.errors and count < 100:
                self.send(ContinuationFrame(1, piece))
                count += 1
            self.assertEqual([code], self.errors)

    def test_bomb(self) -> None:
        """A head that is small as it comes and large as it is meant is refused."""
        encoder = Encoder()
        first = encoder.encode([*FIELDS, ("x", "y" * 1000)], huffman=False)
        self.send(HeadersFrame(1, first, flags=["END_HEADERS"]))
        self.assertEqual([], self.errors)
        again = encoder.encode([*FIELDS, *[("x", "y" * 1000)] * 500], huffman=False)
        self.assertLess(len(again), 600)
        self.send(HeadersFrame(3, again, flags=["END_HEADERS"]))
        self.assertEqual([ErrorCodes.ENHANCE_YOUR_CALM], self.errors)

    def test_many_heads_that_repeat_themselves(self) -> None:
        """Heads that are small as they come may not fill the memory together: streams are refused before."""
        self.patch(burden, "HEADS", 10_000)
        fields = [*FIELDS[:2], (":path", "/later"), *[("cookie", "y" * 1000)] * 2]
        streams = [self.client.open(fields, end=True) for _ in range(10)]
        self.assertEqual([None] * 4 + [ErrorCodes.REFUSED_STREAM] * 6, [stream.reset for stream in streams])
        for request in self.library.later:
            self.library.answer(request)
        self.client.pump()
        self.assertIsNone(self.client.open(fields, end=True).reset)

    def test_asks_and_never_reads(self) -> None:
        """Who lets answers wait may not ask for more and more of them, until some are read."""
        self.patch(connection, "_BACKLOG", 100_000)
        self.client = Http2Client(self.site, reads=False)
        streams = []
        for _ in range(6):
            streams.append(self.later())
            if streams[-1].reset is None:
                self.library.later[-1].write(b"x" * 60_000)
        self.assertEqual([None] * 3 + [ErrorCodes.REFUSED_STREAM] * 3, [stream.reset for stream in streams])
        streams[0].read()
        self.assertIsNone(self.later().reset)
        for stream in streams[:3]:
            stream.cancel()
        self.assertEqual(0, self.client.protocol._channel.out.backlog)

    def test_settings_of_many_streams(self) -> None:
        """Settings that change the windows of many streams are not all taken in one turn."""
        for _ in range(800):
            self.later()
        settings = [SettingsFrame(settings={SettingCodes.INITIAL_WINDOW_SIZE: size}) for size in range(100)]
        known = SettingsFrame(flags=["ACK"]).serialize()
        self.client.protocol.dataReceived(b"".join(frame.serialize() for frame in settings))
        self.assertTrue(0 < self.client.transport.value().count(known) < 20)
        for _ in range(20):
            self.clock.advance(0)
        self.assertEqual(100, self.client.transport.value().count(known))

    def test_settings(self) -> None:
        """However much a client says that it remembers, no more is."""
        self.client.h2.update_settings({SettingCodes.HEADER_TABLE_SIZE: 1 << 30})
        self.client.pump()
        self.assertEqual(4096, self.client.protocol._channel._h2.encoder.header_table_size)
        self.assertEqual(b"/a \n", self.client.send("GET", "/a").body)

    def test_turns_of_what_costs(self) -> None:
        """What is much work for a few bytes is done in turns: settings for many streams, and large heads."""
        many = [("x", "y")] * 12
        for count, data in (
            (300, SettingsFrame(settings={SettingsFrame.INITIAL_WINDOW_SIZE: 7}).serialize() * 20),
            (0, b"".join(head(number, [*FIELDS, *many]).serialize() for number in range(1, 21, 2))),
        ):
            self.client = Http2Client(self.site)
            for _ in range(count):
                self.later()
            self.client.protocol.dataReceived(data)
            self.assertEqual("paused", self.client.transport.producerState)
            self.clock.advance(0)
            self.assertEqual("producing", self.client.transport.producerState)

    def test_too_many_streams(self) -> None:
        """A stream above the limit is refused, and the others go on."""
        self.patch(connection, "STREAMS", 3)
        streams = [self.later() for _ in range(4)]
        self.assertEqual([None, None, None, ErrorCodes.REFUSED_STREAM], [stream.reset for stream in streams])
        self.library.answer(self.library.later[0])
        self.client.pump()
        self.assertEqual(200, streams[0].status)
