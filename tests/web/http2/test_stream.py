"""Streams of HTTP/2."""

from attrs import evolve
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from twisted.internet.defer import succeed
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.http2client import ClientStream, Http2Client
from tests.web.test_doorway import DoorwayTestCase
from vllmsim.errors import QueueFull
from vllmsim.interfaces import IDoorkeeper, IExchange
from vllmsim.web.deadlines import HEADWAY
from vllmsim.web.http2 import burden
from vllmsim.web.http2.connection import Http2
from vllmsim.web.http2.request import StreamRequest
from vllmsim.web.middleware.chain import Chain
from vllmsim.web.request import Request


class StreamTestCase(DoorwayTestCase):
    """A client, and what it asks for."""

    def setUp(self) -> None:
        """Connect."""
        super().setUp()
        self.client = Http2Client(self.site)

    def later(self) -> tuple[ClientStream, Request]:
        """Ask for what the test answers."""
        stream = self.client.begin("GET", "/later", end=True)
        return stream, self.library.later[-1]

    def well(self) -> None:
        """See that the connection goes on."""
        self.assertEqual(b"/well \n", self.client.send("GET", "/well").body)


class EndTests(StreamTestCase):
    """How streams end."""

    def test_cancelled(self) -> None:
        """A request whose client has cancelled it is over; the others go on."""
        (first, _), (second, request) = self.later(), self.later()
        first.cancel()
        self.assertEqual([True, False], [request.gone for request in self.library.later])
        self.library.answer(request)
        self.client.pump()
        self.assertEqual(200, second.status)

    def test_cut_off(self) -> None:
        """An answer that is not complete ends with an error for the client, and the connection goes on."""
        for reset in (True, False):
            stream, request = self.later()
            request.write(b"some")
            request.hang_up(reset=reset)
            self.client.pump()
            self.assertEqual((b"some", False, ErrorCodes.INTERNAL_ERROR), (stream.body, stream.ended, stream.reset))
        self.well()

    def test_cut_off_behind_what_waits(self) -> None:
        """A client that reads slowly sees all that was written before its answer is cut off, unless it is reset."""
        client = Http2Client(self.site, reads=False)
        streams = [client.begin("GET", "/later", end=True) for _ in range(2)]
        for request in self.library.later:
            request.write(b"x" * 40_000)
        client.pump()
        self.library.later[0].hang_up()
        self.library.later[1].hang_up(reset=True)
        client.pump()
        self.assertEqual([None, ErrorCodes.INTERNAL_ERROR], [stream.reset for stream in streams])
        for _ in range(3):
            streams[0].read()
            streams[1].read()
        self.assertEqual((40_000, ErrorCodes.INTERNAL_ERROR), (len(streams[0].body), streams[0].reset))

    def test_fails_late(self) -> None:
        """An answer that fails when it has begun is cut off."""
        stream, request = self.later()
        request.write(b"some")
        request.processingFailed(Failure(ZeroDivisionError()))
        self.client.pump()
        self.assertEqual((b"some", ErrorCodes.INTERNAL_ERROR), (stream.body, stream.reset))
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.well()

    def test_ended_early(self) -> None:
        """An answer may end where it stands, as if it were complete."""
        stream, request = self.later()
        request.write(b"some")
        request.end_early()
        self.client.pump()
        self.assertEqual((b"some", True, None), (stream.body, stream.ended, stream.reset))

    def test_written_after_the_end(self) -> None:
        """What is written for a client that has cancelled goes nowhere."""
        stream, request = self.later()
        write, channel = request.piece_writer(), request.channel
        stream.cancel()
        write(b"some")
        write(b"x" * 100_000)
        channel.send_head([(b":status", b"200")])  # type: ignore[attr-defined]
        channel.abort()
        self.client.pump()
        self.assertEqual((0, b"", []), (stream.status, stream.body, self.client.goodbyes))
        self.well()


class BodyTests(StreamTestCase):
    """What clients send."""

    def test_too_large(self) -> None:
        """A body that is too large is answered at once, and the rest is thrown away; the connection goes on."""
        stream = self.client.begin("POST", "/b").send(b"x" * 101)
        self.assertEqual((413, True), (stream.status, stream.ended))
        self.assertIn("larger than 100 bytes", stream.json()["error"]["message"])
        stream.send(b"x" * 100, end=True)
        self.assertIsNone(stream.reset)
        self.well()
        self.assertFalse(self.client.protocol._channel.streams)

    def test_said_to_be_too_large(self) -> None:
        """A body that says that it is too large is refused before it comes."""
        stream = self.client.begin("POST", "/b", content_length="101")
        self.assertEqual((413, True), (stream.status, stream.ended))

    def test_endless(self) -> None:
        """A client that goes on and on behind its answer is told to stop."""
        stream = self.client.begin("POST", "/b").send(b"x" * 101)
        stream.send(b"x" * 1500)
        self.assertIsNone(stream.reset)
        stream.send(b"x" * 101)
        self.assertEqual(ErrorCodes.NO_ERROR, stream.reset)
        self.well()

    def test_large(self) -> None:
        """A body of many megabytes comes as fast as the server takes it, whatever the first window."""
        self.site.limits = evolve(self.site.limits, body_bytes=1 << 23)
        stream = self.client.begin("POST", "/b")
        left = 5_000_000
        while left:
            size = min(left, self.client.h2.local_flow_control_window(stream.number), 65_536)
            self.assertTrue(size)
            stream.send(b"x" * size)
            left -= size
        stream.end()
        self.assertEqual((200, 5_000_004), (stream.status, len(stream.body)))

    def test_room_is_given_back(self) -> None:
        """What a body has filled of the connection is free again when its stream is over, however that has come."""
        self.site.limits = evolve(self.site.limits, body_bytes=1 << 20)
        channel = self.client.protocol._channel
        for end in (True, False):
            for _ in range(20):
                stream = self.client.begin("POST", "/a" if end else "/later")
                channel.pauseProducing()
                stream.send(b"x" * 1_000_000, end=end)
                if not end:
                    stream.cancel()
                channel.resumeProducing()
                self.client.pump()
        self.well()

    def test_many_large(self) -> None:
        """Of bodies that fill the memory together, one is refused as if it had not come; the others go on."""
        self.site.limits = evolve(self.site.limits, body_bytes=60_000)
        self.patch(burden, "BODIES", 100_000)
        streams = [self.client.begin("POST", "/a").send(b"x" * 50_000) for _ in range(3)]
        self.assertEqual([None, None, ErrorCodes.REFUSED_STREAM], [stream.reset for stream in streams][:3])
        for stream in streams[:2]:
            self.assertEqual(50_004, len(stream.send(b"", end=True).body))
        left = self.client.protocol._channel.burden
        self.assertEqual((0, 0), (left.heads, left.bodies))
        self.well()

    def test_expected(self) -> None:
        """Who asks whether to send a body is told to go on, or that it is too large."""
        stream = self.client.begin("POST", "/b", expect="100-continue", content_length="3")
        self.assertEqual([100], stream.informed)
        self.assertEqual(b"/b abc\n", stream.send(b"abc", end=True).body)
        refused = self.client.begin("POST", "/b", expect="100-continue", content_length="101")
        self.assertEqual(([], 413), (refused.informed, refused.status))

    def test_no_chance(self) -> None:
        """Who asks whether to send a body, and has no chance in any case, is told that at once."""

        @implementer(IDoorkeeper)
        class Doorkeeper:
            """Lets nobody in."""

            def begin(self, exchange: IExchange) -> None:
                """Refuse."""
                raise QueueFull("Full.")

            def end(self, exchange: IExchange) -> None:
                """Know nothing of it."""

            def admits(self, exchange: IExchange) -> bool:
                """Refuse."""
                return False

        self.site.chain = Chain([Doorkeeper()])
        stream = self.client.begin("POST", "/b", expect="100-continue", content_length="3")
        self.assertEqual(([], 429, True), (stream.informed, stream.status, stream.ended))

    def test_too_large_while_closing(self) -> None:
        """A server that closes waits for the rest of no body that is too large."""
        stream = self.client.begin("POST", "/b")
        self.site.close()
        stream.send(b"x" * 101)
        self.assertEqual((413, ErrorCodes.NO_ERROR), (stream.status, stream.reset))
        self.assertTrue(self.client.transport.disconnecting)

    def test_does_not_come(self) -> None:
        """A body that comes on is waited for a minute again; one that does not, or bit by bit, is broken off."""
        self.site.limits = evolve(self.site.limits, body_bytes=1 << 20)
        large, small, gone = (self.client.begin("POST", "/b") for _ in range(3))
        for _ in range(3):
            self.clock.advance(30)
            large.send(b"x" * HEADWAY)
            if small.reset is None:
                small.send(b"x")
        broken_off = ErrorCodes.INTERNAL_ERROR
        self.assertEqual((None, broken_off, broken_off), (large.reset, small.reset, gone.reset))
        self.assertEqual(3 * HEADWAY, large.end().body.count(b"x"))

    def test_length(self) -> None:
        """A body that is not as long as it says is refused."""
        self.client.begin("POST", "/b", content_length="3").send(b"x", end=True)
        self.assertEqual([ErrorCodes.PROTOCOL_ERROR], [goodbye.code for goodbye in self.client.goodbyes])

    def test_trailers(self) -> None:
        """Fields behind a body are passed over."""
        stream = self.client.begin("POST", "/b")
        stream.send(b"abc")
        self.client.h2.send_headers(stream.number, [("x", "y")], end_stream=True)
        self.client.pump()
        self.assertEqual(b"/b abc\n", stream.body)


class RoomTests(DoorwayTestCase):
    """Clients that do not read."""

    def setUp(self) -> None:
        """Connect a client that reads when it is made to."""
        super().setUp()
        self.client = Http2Client(self.site, reads=False, settings={SettingCodes.INITIAL_WINDOW_SIZE: 10})
        self.stream = self.client.begin("GET", "/later", end=True)
        self.request = self.library.later[0]

    def test_room(self) -> None:
        """Who writes may wait until a client has made room; other streams need not."""
        self.successResultOf(self.request.room())
        self.request.write(b"x" * 11)
        self.client.pump()
        room = self.request.room()
        self.assertEqual((True, 10), (self.request.channel.full, len(self.stream.body)))
        self.assertNoResult(room)
        self.assertEqual(b"/a \n", self.client.send("GET", "/a").body)
        self.stream.read()
        self.successResultOf(room)
        self.assertEqual((False, 11), (self.request.channel.full, len(self.stream.body)))

    def test_given_up(self) -> None:
        """One who waits for room may give up."""
        self.request.write(b"x" * 11)
        room = self.request.room()
        room.cancel()
        self.failureResultOf(room)
        self.client.pump()
        self.stream.read()
        self.assertEqual(11, len(self.stream.body))

    def test_end_waits(self) -> None:
        """The end of an answer comes behind all of it."""
        self.request.write(b"x" * 11)
        self.request.finish()
        self.client.pump()
        self.assertFalse(self.stream.ended)
        self.assertTrue(self.stream.read().ended)

    def test_answered_before_it_is_asked(self) -> None:
        """An answer may be complete before the request is, and wait for room."""

        class Hasty(StreamRequest):
            """Waits for no body."""

            def begun(self) -> None:
                """Answer."""
                self.answer(200, b"x" * 15, None)
                self.finish()

        self.site.http2 = lambda: succeed(Http2(Hasty))
        client = Http2Client(self.site, reads=False, settings={SettingCodes.INITIAL_WINDOW_SIZE: 10})
        stream = client.begin("POST", "/hasty").send(b"abc", end=True)
        self.assertEqual((10, False), (len(stream.body), stream.ended))
        stream.read()
        self.assertEqual((15, True), (len(stream.body), stream.ended))
        self.assertFalse(client.protocol._channel.streams)

    def test_never_reads(self) -> None:
        """An answer that a client makes no room for is cut off, and the connection goes on."""
        self.request.write(b"x" * 25)
        self.client.pump()
        self.clock.advance(29)
        self.stream.read()
        self.clock.advance(29)
        self.client.pump()
        self.assertIsNone(self.stream.reset)
        self.clock.advance(1)
        self.client.pump()
        self.assertEqual((ErrorCodes.CANCEL, True), (self.stream.reset, self.request.gone))
        self.assertEqual(b"/a \n", self.client.send("GET", "/a").body)

    def test_sends_and_never_reads(self) -> None:
        """A client that sends on and on without reading what is said to that is made to wait."""

        class Echo(StreamRequest):
            """Writes what it takes."""

            def begun(self) -> None:
                """Begin to answer."""
                self.process()

            def take(self, piece: bytes) -> None:
                """Write it."""
                self.write(piece)

            def process(self) -> None:
                """Answer nothing else."""

        self.site.http2 = lambda: succeed(Http2(Echo))
        client = Http2Client(self.site, reads=False)
        stream = client.begin("POST", "/echo")
        sent = 0
        while (size := min(client.h2.local_flow_control_window(stream.number), 16_384)) > 0:
            stream.send(b"x" * size)
            sent += size
            self.assertLess(sent, 5_000_000)
        for _ in range(sent // 32_768):
            stream.read()
        self.assertTrue(client.h2.local_flow_control_window(stream.number))


class CountingTransport(StringTransport):
    """Counts what is written."""

    writes = 0

    def write(self, data: bytes) -> None:
        """Count it, and take it."""
        self.writes += 1
        super().write(data)


class PieceTests(DoorwayTestCase):
    """Answers in pieces."""

    def setUp(self) -> None:
        """Begin answers on one connection."""
        super().setUp()
        self.transport = CountingTransport()
        self.client = Http2Client(self.site, transport=self.transport)
        self.streams = [self.client.begin("GET", "/later", end=True) for _ in range(20)]
        for request in self.library.later:
            request.write(b"")
        self.client.pump()

    def test_together(self) -> None:
        """What is written to many streams in one turn of the reactor is one write to the connection."""
        before = self.transport.writes
        for number, request in enumerate(self.library.later):
            request.piece_writer()(b"%d" % number)
        self.client.pump()
        self.assertEqual(1, self.transport.writes - before)
        self.assertEqual([[b"%d" % number] for number in range(20)], [stream.pieces for stream in self.streams])

    def test_nothing(self) -> None:
        """A piece without bytes is not sent."""
        self.library.later[0].piece_writer()(b"")
        self.client.pump()
        self.assertEqual([], self.streams[0].pieces)
