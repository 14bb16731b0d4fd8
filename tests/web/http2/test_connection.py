"""Connections of HTTP/2."""

import gc
import weakref
from collections.abc import Sequence

from h2.errors import ErrorCodes
from hpack import Encoder
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    SettingsFrame,
)
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from tests.http2client import ClientStream, Http2Client
from tests.web.test_channel import Narrow
from tests.web.test_doorway import DoorwayTestCase
from tests.wires import Wire
from vllmsim.web.doorway import PREFACE
from vllmsim.web.http2 import connection
from vllmsim.web.http2.frames import LARGEST_NUMBER
from vllmsim.web.http2.request import StreamRequest

FIELDS = [(":method", "GET"), (":scheme", "http"), (":path", "/a"), (":authority", "x")]


def head(number: int, fields: Sequence[tuple[str, str]] = FIELDS, *flags: str) -> Frame:
    """Write the head of a request, which remembers nothing."""
    return HeadersFrame(number, Encoder().encode(fields, huffman=False), flags=["END_HEADERS", *flags])


class ConnectionTestCase(DoorwayTestCase):
    """A connection."""

    def setUp(self) -> None:
        """Connect."""
        super().setUp()
        self.client = Http2Client(self.site)

    def send(self, *frames: Frame) -> None:
        """Send frames that h2 would not."""
        self.client.send_bytes(b"".join(frame.serialize() for frame in frames))

    @property
    def errors(self) -> list[int]:
        """The codes with which the server has said goodbye."""
        return [goodbye.code for goodbye in self.client.goodbyes]

    @property
    def closed(self) -> bool:
        """Whether the server has closed the connection."""
        return self.client.transport.disconnecting

    def later(self) -> ClientStream:
        """Ask for what the test answers."""
        return self.client.begin("GET", "/later", end=True)


class ExchangeTests(ConnectionTestCase):
    """Requests and their answers."""

    def test_answer(self) -> None:
        """A request is answered as one of HTTP/1.1 is."""
        stream = self.client.send("POST", "/a", b"hello")
        self.assertEqual((200, b"/a hello\n", True), (stream.status, stream.body, stream.ended))
        self.assertEqual(
            {"server": "uvicorn", "content-type": "text/plain", "content-length": "9"},
            {name: value for name, value in stream.headers.items() if name != "date"},
        )

    def test_many_at_once(self) -> None:
        """Hundreds of requests that come at once, before the client knows our settings, are all answered."""
        client = Http2Client(self.site)
        requests = [head(number, [*FIELDS[:2], (":path", "/later")], "END_STREAM") for number in range(1, 601, 2)]
        client.send_bytes(b"".join(frame.serialize() for frame in requests))
        self.assertEqual(300, len(self.library.later))
        for request in self.library.later:
            self.library.answer(request)
        self.clock.advance(0)
        self.assertEqual(300, client.transport.value().count(b"/later \n"))

    def test_turns(self) -> None:
        """Requests that come all at once are begun in several turns, so that others have theirs."""
        requests = [head(number, [*FIELDS[:2], (":path", "/later")], "END_STREAM") for number in range(1, 601, 2)]
        self.client.protocol.dataReceived(b"".join(frame.serialize() for frame in requests[:200]))
        self.client.protocol.dataReceived(b"".join(frame.serialize() for frame in requests[200:]))
        self.assertTrue(0 < len(self.library.later) < 50)
        self.assertEqual("paused", self.client.transport.producerState)
        self.clock.advance(0)
        self.assertEqual((300, "producing"), (len(self.library.later), self.client.transport.producerState))

    def test_malformed(self) -> None:
        """What is malformed in one request is no matter for others."""
        for fields in ([*FIELDS, ("connection", "close")], FIELDS[1:], [*FIELDS, ("Upper", "x")], FIELDS * 2):
            self.assertEqual(ErrorCodes.PROTOCOL_ERROR, self.client.open(fields, end=True).reset)
        self.assertEqual(ErrorCodes.PROTOCOL_ERROR, self.client.open([*FIELDS, *[("x", "y")] * 17], end=True).reset)
        self.assertEqual(200, self.client.open([*FIELDS, *[("x", "y")] * 16], end=True).status)

    def test_bug(self) -> None:
        """An error of ours in reading a request is logged, and ends the connection."""

        def break_down(*_: object) -> None:
            raise ZeroDivisionError

        self.patch(connection, "read_head", break_down)
        self.client.send("GET", "/a")
        self.assertEqual(([ErrorCodes.INTERNAL_ERROR], 1), (self.errors, len(self.flushLoggedErrors())))

    def test_other_targets(self) -> None:
        """A request may be for the server itself; who wants a tunnel is answered like others."""
        self.assertEqual(b"* \n", self.client.send("OPTIONS", "*").body)
        tunnel = self.client.open([(":method", "CONNECT"), (":authority", "x:1")])
        self.assertEqual((b"x:1 \n", True), (tunnel.body, tunnel.ended))


class IdleTests(ConnectionTestCase):
    """Clients that do nothing."""

    def test_no_request(self) -> None:
        """A connection that never asks for anything is closed after a minute."""
        self.clock.advance(59)
        self.assertFalse(self.closed)
        self.clock.advance(1)
        self.client.pump()
        self.assertEqual(([ErrorCodes.NO_ERROR], True), (self.errors, self.closed))
        self.clock.advance(30)
        self.assertTrue(self.client.transport.disconnected)

    def test_after_a_request(self) -> None:
        """A connection rests for a while between requests, and not longer."""
        for _ in range(3):
            self.client.send("GET", "/a")
            self.clock.advance(4)
        self.assertFalse(self.closed)
        self.clock.advance(1)
        self.client.pump()
        self.assertEqual(([ErrorCodes.NO_ERROR], True), (self.errors, self.closed))

    def test_lasting(self) -> None:
        """A connection of those who want it kept is kept."""
        self.patch(StreamRequest, "lasting", True)
        self.client.send("GET", "/a")
        self.clock.advance(1000)
        self.assertFalse(self.closed)
        self.assertEqual(b"/a \n", self.client.send("GET", "/a").body)

    def test_slow_answer(self) -> None:
        """A client that waits for its answer may wait for ever."""
        stream = self.later()
        self.clock.advance(1000)
        self.library.answer(self.library.later[0])
        self.client.pump()
        self.assertEqual(200, stream.status)

    def test_half_a_frame(self) -> None:
        """A frame, or a head, that does not come on is waited for a minute."""
        for data in (b"\0\0\1", HeadersFrame(1, b"").serialize()):
            self.client = Http2Client(self.site)
            self.client.send_bytes(data)
            self.clock.advance(59)
            self.assertFalse(self.closed)
            self.clock.advance(1)
            self.assertTrue(self.closed)

    def test_bit_by_bit(self) -> None:
        """A frame that comes bit by bit is waited for a minute; one behind others that have come is waited for anew."""
        frame = DataFrame(1, b"x" * 9).serialize()
        for size, closed in ((1, True), (len(frame), False)):
            self.client = Http2Client(self.site)
            self.client.begin("POST", "/later")
            self.client.protocol.dataReceived(frame[:3])
            for start in range(3, 3 + 7 * size, size):
                self.clock.advance(8)
                self.client.protocol.dataReceived((frame * 9)[start : start + size])
            self.clock.advance(4)
            self.assertEqual(closed, self.closed)

    def test_forgotten(self) -> None:
        """A connection that is gone is forgotten at once, without the collector of garbage."""
        wire = Wire(self.site.buildProtocol(None))
        doorway = wire.connection.protocol
        doorway.dataReceived(PREFACE + b"".join(frame.serialize() for frame in (SettingsFrame(), head(1))))
        self.clock.advance(0)
        seen = weakref.ref(doorway), weakref.ref(doorway._channel)
        gc.disable()
        self.addCleanup(gc.enable)
        wire.connection.connectionLost(Failure(ConnectionDone()))
        wire.close()
        del wire, doorway
        self.assertEqual([None, None], [each() for each in seen])

    def test_lost_with_many(self) -> None:
        """A connection that is lost with many streams takes several turns to end; its site knows it until then."""
        for _ in range(100):
            self.later()
        self.client.drop()
        self.assertTrue(0 < sum(request.gone for request in self.library.later) < 50)
        self.assertTrue(self.site.channels)
        for _ in range(5):
            self.clock.advance(0)
        self.assertEqual({True}, {request.gone for request in self.library.later})
        self.assertEqual((set(), []), (self.site.channels, self.clock.getDelayedCalls()))

    def test_no_timer_left(self) -> None:
        """When the last connection is gone, so are all timers."""
        self.client.send("GET", "/a")
        self.later()
        self.client.drop()
        self.assertEqual([], self.clock.getDelayedCalls())
        self.assertTrue(self.library.later[0].gone)


class FullTests(DoorwayTestCase):
    """Clients whose sockets are full."""

    def setUp(self) -> None:
        """Connect a client that reads when it is made to."""
        super().setUp()
        self.client = Http2Client(self.site, transport=Narrow())
        self.channel = self.client.protocol._channel
        self.channel.resumeProducing()

    def test_producer(self) -> None:
        """A connection lets its transport tell it when to stop."""
        verifyObject(IPushProducer, self.channel)
        self.channel.stopProducing()

    def test_room(self) -> None:
        """Nobody writes while the socket is full, and all go on when it is not."""
        streams = [self.client.begin("GET", "/later", end=True) for _ in range(2)]
        for request in self.library.later:
            self.successResultOf(request.room())
            request.write(b"some")
        self.client.pump()
        rooms = [request.room() for request in self.library.later]
        for request, room in zip(self.library.later, rooms, strict=True):
            self.assertTrue(request.channel.full)
            self.assertNoResult(room)
            request.write(b"more")
        self.client.pump()
        self.assertEqual([b"some"] * 2, [stream.body for stream in streams])
        self.channel.resumeProducing()
        self.client.pump()
        self.channel.resumeProducing()
        for room in rooms:
            self.successResultOf(room)
        self.assertEqual([b"somemore"] * 2, [stream.body for stream in streams])

    def test_never_reads(self) -> None:
        """A client that reads nothing for too long is cut off."""
        self.client.begin("GET", "/later", end=True)
        self.library.later[0].write(b"some")
        self.client.pump()
        self.clock.advance(29)
        self.assertFalse(self.client.transport.disconnected)
        self.clock.advance(1)
        self.assertTrue(self.client.transport.disconnected)

    def test_not_read_from(self) -> None:
        """A client that does not read is not read from for long, as what it sends may have answers."""
        self.client.begin("GET", "/later", end=True)
        self.library.later[0].write(b"some")
        self.client.pump()
        stream = self.client.begin("POST", "/b")
        self.assertEqual("producing", self.client.transport.producerState)
        stream.send(b"x" * 60_000)
        stream.send(b"x" * 60_000)
        self.assertEqual("paused", self.client.transport.producerState)
        self.channel.resumeProducing()
        self.assertEqual("producing", self.client.transport.producerState)


class ClosingTests(ConnectionTestCase):
    """How connections end."""

    def test_idle(self) -> None:
        """When the site closes, an idle connection is closed, and the client told so."""
        closing = self.site.close()
        self.client.pump()
        self.assertEqual(([ErrorCodes.NO_ERROR], True), (self.errors, self.closed))
        self.client.drop()
        self.successResultOf(closing)

    def test_busy(self) -> None:
        """Answers that have begun come to their end, no others begin, and then the connection is closed."""
        stream = self.later()
        closing = self.site.close()
        self.client.pump()
        goodbyes = [(goodbye.code, goodbye.last) for goodbye in self.client.goodbyes]
        self.assertEqual(([(0, LARGEST_NUMBER), (0, 1)], False), (goodbyes, self.closed))
        self.send(head(3, FIELDS, "END_STREAM"))
        self.assertNoResult(closing)
        self.library.answer(self.library.later[0])
        self.client.pump()
        self.assertEqual((200, True, True), (stream.status, stream.ended, self.closed))
        self.client.drop()
        self.successResultOf(closing)

    def test_crossing(self) -> None:
        """A request that is on its way when the site closes is answered: its client has not heard of that yet."""
        self.later()
        closing = self.site.close()
        crossing = self.client.streams[3] = ClientStream(self.client, 3)
        self.client.h2.send_headers(3, FIELDS, end_stream=True)
        self.client.protocol.dataReceived(self.client.h2.data_to_send())
        self.client.pump()
        self.assertEqual([LARGEST_NUMBER, 3], [goodbye.last for goodbye in self.client.goodbyes])
        self.library.answer(self.library.later[0])
        self.client.pump()
        self.assertEqual((200, True, True), (crossing.status, crossing.ended, self.closed))
        self.client.drop()
        self.successResultOf(closing)

    def test_still_sending(self) -> None:
        """A client that still sends behind its answer holds up nothing."""
        self.client.begin("POST", "/b", content_length="101")
        closing = self.site.close()
        self.client.pump()
        self.assertTrue(self.closed)
        self.client.drop()
        self.successResultOf(closing)

    def test_dismissed(self) -> None:
        """When the server waits no more, clients know which of their requests have not begun, and that it stops."""
        begun, half = self.later(), self.client.begin("POST", "/b", content_length="9")
        self.site.close()
        self.site.dismiss()
        self.client.pump()
        self.assertEqual((ErrorCodes.INTERNAL_ERROR, ErrorCodes.REFUSED_STREAM), (begun.reset, half.reset))
        self.assertTrue(self.client.goodbyes)
        self.assertTrue(self.closed)

    def test_goodbye(self) -> None:
        """A client that says goodbye has all its answers, and then the connection is closed."""
        streams = [self.later(), self.later()]
        self.send(GoAwayFrame(0))
        self.assertFalse(self.closed)
        for request in self.library.later:
            self.library.answer(request)
        self.client.pump()
        self.assertEqual(([200, 200], True), ([stream.status for stream in streams], self.closed))
        self.client = Http2Client(self.site)
        self.send(GoAwayFrame(0))
        self.assertTrue(self.closed)


class TransportTests(DoorwayTestCase):
    """What connections are made on."""

    def test_secure(self) -> None:
        """Requests know where they come from, and whether the way is secret."""
        client = Http2Client(self.site, transport=StringTransport())
        client.begin("GET", "/later", end=True)
        [request] = self.library.later
        self.assertEqual((False, "HTTP/2"), (request.isSecure(), request.version))
        self.assertEqual("192.168.1.1:54321", request.peer)
        self.assertEqual("example.test", request.header("host"))
