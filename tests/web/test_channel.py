"""Connections: what comes in, who is answered when, and what becomes of clients who do not read."""

import gc
import weakref
from typing import Any

from attrs import evolve
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import NOT_DONE_YET
from zope.interface.verify import verifyObject

from tests.fakes import RecordingMetrics, Routeless
from tests.harness import Exchange
from tests.wires import Wire
from vllmsim.web import channel, connection
from vllmsim.web.request import Request
from vllmsim.web.site import Limits, Site

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"


class Library(Routeless):
    """Answers with a request's path and body: at once, or for ``/later`` when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.later: list[Request] = []

    def render(self, request: Request) -> int:
        """Answer."""
        if request.path.startswith(b"/later"):
            self.later.append(request)
        else:
            self.answer(request)
        return NOT_DONE_YET

    def answer(self, request: Request) -> None:
        """Answer one."""
        request.answer(200, request.path + b" " + request.content.read() + b"\n", b"text/plain")
        request.finish()


class ChannelTestCase(SynchronousTestCase):
    """A site with small limits, and connections to it."""

    def setUp(self) -> None:
        """Serve the library."""
        self.clock = Clock()
        self.library = Library()
        limits = Limits(head_bytes=2000, headers=20, body_bytes=100, keep_alive=5, send=30)
        self.site = Site(self.library, self.clock, RecordingMetrics(), limits)
        self.exchange = Exchange(self.site)
        self.transport = self.exchange.transport
        self.channel = self.exchange.protocol

    def bodies(self) -> list[str]:
        """List the answers that have come, by their bodies."""
        return [part.partition("\n")[0] for part in self.exchange.raw.decode().split("\r\n\r\n")[1:]]


class ComingTests(ChannelTestCase):
    """Requests in all forms."""

    def test_pieces(self) -> None:
        """A request may come in any pieces, and with others."""
        data = (
            b"GET /a?x=1 HTTP/1.1\r\nHost: x\r\n\r\n"
            b"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
            b"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n2;e=1\r\nde\r\n0\r\nT: 1\r\n\r\n"
            b"\r\nGET /d HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        for size in (1, 2, 7, 50, 1000):
            self.setUp()
            for start in range(0, len(data), size):
                self.exchange.send_bytes(data[start : start + size])
            self.assertEqual(["/a ", "/b abc", "/c abcde", "/d "], self.bodies())

    def test_order(self) -> None:
        """Requests that come together are answered in their order, each when the one before is; the rest waits."""
        for path in ("/later/1", "/later/2", "/now"):
            self.exchange.send("GET", path)
        self.assertEqual(([], "paused"), (self.bodies(), self.transport.producerState))
        [first] = self.library.later
        self.library.answer(first)
        self.assertEqual((["/later/1 "], 2), (self.bodies(), len(self.library.later)))
        self.library.answer(self.library.later[1])
        self.assertEqual(
            (["/later/1 ", "/later/2 ", "/now "], "producing"), (self.bodies(), self.transport.producerState)
        )

    def test_order_while_closing(self) -> None:
        """Requests that wait behind one when the server stops are answered too, and the last is told to be it."""
        for path in ("/later/1", "/later/2", "/now"):
            self.exchange.send("GET", path)
        closed = self.site.close()
        for request in (self.library.later[0], None):
            self.library.answer(request or self.library.later[1])
        self.assertEqual(["/later/1 ", "/later/2 ", "/now "], self.bodies())
        self.assertEqual(1, self.exchange.raw.count(b"connection: close"))
        self.assertIn(b"connection: close", self.exchange.raw.rpartition(b"HTTP/1.1")[2])
        self.assertTrue(self.transport.disconnecting)
        self.exchange.drop()
        self.successResultOf(closed)

    def test_more_while_closing(self) -> None:
        """What a client has sent before it could know that the server stops is read before its connection is closed."""
        self.exchange.send("GET", "/later")
        self.library.later[0].write(b"some")
        closed = self.site.close()
        self.library.later[0].finish()
        self.assertFalse(self.transport.disconnecting)
        self.exchange.send("GET", "/now")
        self.assertTrue(self.exchange.raw.endswith(b"/now \n"), self.exchange.raw)
        self.assertTrue(self.transport.disconnecting)
        self.exchange.drop()
        self.clock.advance(0)
        self.successResultOf(closed)

    def test_silence_while_closing(self) -> None:
        """Who has sent nothing more has the connection closed at once."""
        self.exchange.send("GET", "/later")
        self.library.later[0].write(b"some")
        self.site.close()
        self.library.later[0].finish()
        self.clock.advance(0)
        self.assertTrue(self.transport.disconnecting)

    def test_dismissed(self) -> None:
        """Who has sent a head and half a body when the server waits no more is told so; there is no answer to less."""
        self.exchange.send_bytes(b"POST /now HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf")
        head = Exchange(self.site).send_bytes(b"POST /now HT")
        self.site.close()
        self.assertEqual(b"", self.exchange.raw)
        self.site.dismiss()
        self.assertEqual((503, True), (self.exchange.status, self.transport.disconnecting))
        self.assertIn(b"The server is shutting down.", self.exchange.raw)
        self.assertEqual((b"", True), (head.raw, head.transport.disconnecting))

    def test_no_request_behind_one(self) -> None:
        """Bytes that are no request are refused when what came before them is answered, and nothing after is heard."""
        self.exchange.send("GET", "/later").send_bytes(b"nonsense\r\n\r\n").send("GET", "/now")
        self.assertEqual(b"", self.exchange.raw)
        self.library.answer(self.library.later[0])
        self.assertEqual(["/later ", "Invalid HTTP request received."], self.bodies())
        self.assertTrue(self.transport.disconnecting)
        self.exchange.send("GET", "/now")
        self.assertEqual(2, len(self.bodies()))

    def test_tls(self) -> None:
        """Who speaks TLS where there is none is refused like others, and the log's debug level says why."""
        with capturedLogs() as events:
            self.exchange.send_bytes(b"\x16\x03\x01\x02\x00\x01\x00")
            self.exchange.send_bytes(b"")
        self.assertEqual(["Invalid HTTP request received."], self.bodies())
        told = [event["log_format"] for event in events if event["log_level"].name == "debug"]
        self.assertEqual(["A client speaks TLS, where there is none."], told)

    def test_body_too_large_behind_a_request(self) -> None:
        """A body that goes much too far is refused in its turn, and the connection ends with that."""
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3000\r\n\r\n"
        self.exchange.send("GET", "/later").send_bytes(head + b"x" * 1000).send_bytes(b"x" * 2000).send("GET", "/now")
        self.library.answer(self.library.later[0])
        self.assertEqual("/later ", self.bodies()[0])
        self.assertIn("larger than 100 bytes", self.bodies()[1])
        self.assertEqual((2, True), (len(self.bodies()), self.transport.disconnecting))

    def test_expecting_behind_a_request(self) -> None:
        """A client is not told to go on in the middle of an answer but behind it, unless it has gone on already."""
        go_on = b"HTTP/1.1 100 Continue\r\n\r\n"
        for early in (b"", b"x"):
            self.setUp()
            self.exchange.send("GET", "/later").send("POST", "/b", None, Content_Length="2", Expect="100-continue")
            self.exchange.send_bytes(early)
            self.library.answer(self.library.later[0])
            self.assertEqual(not early, self.exchange.raw.endswith(b"/later \n" + go_on))
            self.exchange.send_bytes(b"xy"[len(early) :])
            self.assertEqual(("/later ", "/b xy"), (self.bodies()[0], self.bodies()[-1]))
            self.assertEqual(not early, go_on in self.exchange.raw)

    def test_versions(self) -> None:
        """Clients of HTTP/1.0 are served, one request each unless they ask for more."""
        self.exchange.send_bytes(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /b HTTP/1.0\r\n\r\n")
        self.assertEqual((["/a ", "/b "], True), (self.bodies(), self.transport.disconnecting))
        self.assertIn(b"connection: keep-alive", self.exchange.raw.split(b"/a ")[0])
        self.assertIn(b"connection: close", self.exchange.raw.split(b"/a ")[1])

    def test_close(self) -> None:
        """A client may ask for the connection's end; it is told that it has it."""
        self.exchange.send("GET", "/a", Connection="close")
        self.assertEqual(("close", True), (self.exchange.headers["connection"], self.transport.disconnecting))

    def test_upgrade(self) -> None:
        """A client that offers another protocol is answered in this one, and may go on."""
        self.exchange.send("POST", "/a", b"xy", Connection="Upgrade, HTTP2-Settings", Upgrade="h2c", HTTP2_Settings="")
        self.exchange.send("GET", "/b", Connection="Upgrade", Upgrade="websocket").send("GET", "/c")
        self.assertEqual(["/a xy", "/b ", "/c "], self.bodies())

    def test_connect(self) -> None:
        """A client that takes this server for a proxy is told that it is none; what it sends on is no request."""
        for length in ("", "Content-Length: 40\r\n"):
            self.setUp()
            self.exchange.send_bytes(f"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n{length}\r\n".encode() + GET)
            self.exchange.send_bytes(GET)
            self.assertEqual((["x:1 "], True), (self.bodies(), self.transport.disconnecting))

    def test_turns(self) -> None:
        """Requests that come all at once are answered in several turns, so that others have theirs."""
        self.exchange.send_bytes(GET * 100)
        self.assertTrue(0 < len(self.bodies()) < 50)
        self.assertEqual("paused", self.transport.producerState)
        self.clock.advance(0)
        self.clock.advance(0)
        self.clock.advance(0)
        self.assertEqual((["/a "] * 100, "producing"), (self.bodies(), self.transport.producerState))

    def test_smuggled(self) -> None:
        """A request whose length is told in two ways is none."""
        for lengths in ("Content-Length: 3\r\nTransfer-Encoding: chunked", "Content-Length: 3\r\nContent-Length: 4"):
            self.setUp()
            self.exchange.send_bytes(f"POST / HTTP/1.1\r\nHost: x\r\n{lengths}\r\n\r\n0\r\n\r\n".encode())
            self.assertEqual((400, True), (self.exchange.status, self.transport.disconnecting))

    def test_never_ending_head(self) -> None:
        """A head that comes bit by bit is bounded all the same."""
        self.exchange.send_bytes(b"GET / HTTP/1.1\r\nX: ")
        for _ in range(201):
            self.exchange.send_bytes(b"x" * 10)
        self.assertEqual(400, self.exchange.status)

    def test_much_behind_a_head(self) -> None:
        """What comes in one piece with the rest of a head is no part of it."""
        self.exchange.send_bytes(b"GET /a HTTP/1.1\r\nHost:").send_bytes(b" x\r\nX: y\r\n\r\n" + GET * 99)
        self.clock.pump([0] * 9)
        self.assertEqual(["/a "] * 100, self.bodies())

    def test_never_ending_trailer(self) -> None:
        """What is sent behind a body, or between its pieces, is bounded too."""
        for rest in (b"0\r\nX: ", b"1;x="):
            self.setUp()
            self.exchange.send_bytes(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + rest)
            for _ in range(201):
                self.exchange.send_bytes(b"x" * 10)
            self.assertEqual(400, self.exchange.status)

    def test_long_target(self) -> None:
        """A target is at most 64 KiB long, however large a head may be."""
        self.site.limits = evolve(self.site.limits, head_bytes=1 << 20)
        self.exchange.send("GET", "/?" + "x" * 65534)
        self.assertEqual(200, self.exchange.status)
        self.assertEqual(400, Exchange(self.site).send("GET", "/?" + "x" * 65535).status)

    def test_length_of_zeros(self) -> None:
        """A length may begin with any number of zeros."""
        self.site.limits = evolve(self.site.limits, head_bytes=1 << 20)
        head = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"0" * 5000
        self.exchange.send_bytes(head + b"3\r\n\r\nabc").send_bytes(head + b"\r\n\r\n")
        self.assertEqual(["/a abc", "/a "], self.bodies())

    def test_bug(self) -> None:
        """An error of ours in reading a request is logged, and refused like bytes that are none."""

        def break_down(*_: object) -> None:
            raise ZeroDivisionError

        self.patch(channel, "Request", break_down)
        self.exchange.send("GET", "/a")
        self.assertEqual((400, 1), (self.exchange.status, len(self.flushLoggedErrors())))

    def test_head_in_pieces(self) -> None:
        """A head that is just within the limit may come in pieces."""
        self.exchange.send_bytes(b"GET /a HTTP/1.1\r\n")
        for number in range(9):
            self.exchange.send_bytes(b"X-%d: %b\r\n" % (number, b"x" * 200))
        self.assertEqual(200, self.exchange.send_bytes(b"\r\n").status)

    def test_addresses(self) -> None:
        """A request knows where it came from, where to, and how."""
        self.exchange.send("GET", "/later")
        [request] = self.library.later
        self.assertIsInstance(request.getClientAddress(), IPv4Address)
        self.assertIsInstance(request.getHost(), IPv4Address)
        self.assertEqual((False, b"example.test"), (request.isSecure(), request.getHeader("host").encode()))
        self.assertEqual([b"example.test"], request.requestHeaders.getRawHeaders(b"host"))


class IdleTests(ChannelTestCase):
    """Clients that do nothing."""

    def test_no_request(self) -> None:
        """A connection that never asks for anything is closed after a minute, and cut off if it will not close."""
        self.clock.advance(59)
        self.assertFalse(self.transport.disconnecting)
        self.clock.advance(1)
        self.assertTrue(self.transport.disconnecting)
        self.clock.advance(30)
        self.assertTrue(self.transport.disconnected)

    def test_slow_answer(self) -> None:
        """A client that waits for its answer may wait for ever, with another request begun behind."""
        self.exchange.send("GET", "/later").send_bytes(b"GET /b")
        self.clock.advance(1000)
        self.assertFalse(self.transport.disconnecting)
        self.library.answer(self.library.later[0])
        self.clock.advance(59)
        self.exchange.send_bytes(b" HTTP/1.1\r\n\r\n")
        self.assertEqual(["/later ", "/b "], self.bodies())

    def test_bit_by_bit(self) -> None:
        """A request that comes bit by bit is waited for a minute, from its own beginning."""
        self.exchange.send("GET", "/a")
        head = b"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 90\r\n\r\n"
        for piece in (head[:9], head[9:], *[b"x"] * 10):
            self.exchange.send_bytes(piece)
            self.assertFalse(self.transport.disconnecting)
            self.clock.advance(5)
        self.assertTrue(self.transport.disconnecting)

    def test_large_body(self) -> None:
        """A body that comes on may take longer."""
        self.site.limits = evolve(self.site.limits, body_bytes=1 << 20)
        self.exchange.send_bytes(b"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 160000\r\n\r\n")
        for _ in range(10):
            self.exchange.send_bytes(b"x" * 16_000)
            self.clock.advance(20)
        self.assertEqual(200, self.exchange.status)

    def test_forgotten(self) -> None:
        """A connection that is gone is forgotten at once, without the collector of garbage."""
        wire = Wire(self.site.buildProtocol(None))
        seen = weakref.ref(wire.connection.protocol)
        wire.connection.protocol.dataReceived(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        gc.disable()
        self.addCleanup(gc.enable)
        wire.connection.connectionLost(Failure(ConnectionDone()))
        wire.close()
        del wire
        self.assertIsNone(seen())

    def test_no_timer_left(self) -> None:
        """When the last connection is gone, so are all timers."""
        self.exchange.send("GET", "/a")
        self.exchange.drop()
        self.assertEqual([], self.clock.getDelayedCalls())


class Narrow(StringTransport):
    """A transport that has enough after each write."""

    producer: Any

    def write(self, data: bytes) -> None:
        """Keep it, and say so."""
        super().write(data)
        if self.producer is not None:
            self.producer.pauseProducing()


class FullTests(ChannelTestCase):
    """Clients that do not read."""

    def setUp(self) -> None:
        """Connect a client that reads when it is made to."""
        super().setUp()
        self.exchange = Exchange(self.site, Narrow())
        self.transport = self.exchange.transport
        self.channel = self.exchange.protocol

    def test_producer(self) -> None:
        """A connection lets its transport tell it when to stop."""
        verifyObject(IPushProducer, self.channel)
        self.channel.stopProducing()

    def test_room(self) -> None:
        """Whoever writes can wait for room; where there is some, the wait is over at once."""
        self.exchange.send("GET", "/later")
        [request] = self.library.later
        self.successResultOf(request.room())
        request.write(b"some")
        self.assertTrue(self.channel.full)
        room = request.room()
        self.assertNoResult(room)
        self.channel.resumeProducing()
        self.successResultOf(room)
        self.assertFalse(self.channel.full)

    def test_given_up(self) -> None:
        """One who waits for room may give up, and another wait."""
        self.exchange.send("GET", "/later")
        [request] = self.library.later
        request.write(b"some")
        given_up = request.room()
        given_up.cancel()
        self.failureResultOf(given_up)
        self.channel.resumeProducing()
        self.successResultOf(request.room())

    def test_gone(self) -> None:
        """A request whose client is gone has room for everything, and writes nothing."""
        self.exchange.send("GET", "/later")
        [request] = self.library.later
        self.exchange.drop()
        request.write(b"some")
        self.successResultOf(request.room())
        self.assertEqual(b"", self.exchange.raw)

    def test_next_request_waits(self) -> None:
        """A client that does not read its answers gets no further ones, however many requests it sends."""
        for path in ("/a", "/b", "/c"):
            self.exchange.send("GET", path)
        self.assertEqual((["/a "], "paused"), (self.bodies(), self.transport.producerState))
        self.channel.resumeProducing()
        self.assertEqual(["/a ", "/b "], self.bodies())
        self.channel.resumeProducing()
        self.assertEqual((["/a ", "/b ", "/c "], "producing"), (self.bodies(), self.transport.producerState))

    def test_never_reads(self) -> None:
        """A client that reads nothing for too long is cut off, in the middle of an answer and after its end."""
        self.exchange.send("GET", "/later")
        self.library.later[0].write(b"some")
        self.clock.advance(29)
        self.assertFalse(self.transport.disconnected)
        self.clock.advance(1)
        self.assertTrue(self.transport.disconnected)
        at_its_end = Exchange(self.site, Narrow()).send("GET", "/a")
        self.clock.advance(5)
        self.assertTrue(at_its_end.transport.disconnecting)
        self.clock.advance(30)
        self.assertTrue(at_its_end.transport.disconnected)

    def test_reads_now_and_then(self) -> None:
        """A client that reads something in time is waited for again."""
        self.exchange.send("GET", "/later")
        for _ in range(5):
            self.library.later[0].write(b"some")
            self.clock.advance(29)
            self.channel.resumeProducing()
        self.clock.advance(100)
        self.assertFalse(self.transport.disconnected)

    def test_reads_slowly(self) -> None:
        """What the transport keeps becoming less is as good as room for more."""
        left = iter([1000])
        self.patch(connection, "unsent", lambda _: next(left, 900))
        self.exchange.send("GET", "/later")
        self.library.later[0].write(b"some")
        self.clock.advance(30)
        self.assertFalse(self.transport.disconnected)
        self.clock.advance(30)
        self.assertTrue(self.transport.disconnected)

    def test_route_is_cancelled(self) -> None:
        """A route that waits for room is cancelled when the client is cut off."""
        ends: list[str] = []

        class Endless(Routeless):
            """Writes for ever."""

            def render(self, request: Request) -> Deferred[None]:
                """Answer."""
                return Deferred.fromCoroutine(self.write(request))

            async def write(self, request: Request) -> None:
                """Write as the client reads."""
                try:
                    while True:
                        await request.room()
                        request.write(b"some")
                finally:
                    ends.append("ended")

        self.site.resource = Endless()
        self.exchange.send("GET", "/")
        self.clock.advance(30)
        self.exchange.drop()
        self.assertEqual((True, ["ended"]), (self.transport.disconnected, ends))
