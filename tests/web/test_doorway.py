"""The beginning of connections to a port where both HTTP/1.1 and HTTP/2 are spoken."""

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import RecordingMetrics
from tests.harness import Exchange
from tests.http2client import Http2Client
from tests.web.test_channel import Library
from vllmsim.web.doorway import PREFACE
from vllmsim.web.http2.connection import Http2
from vllmsim.web.site import Limits, Site


class DoorwayTestCase(SynchronousTestCase):
    """A site that speaks both."""

    def setUp(self) -> None:
        """Serve the library."""
        self.clock = Clock()
        self.library = Library()
        limits = Limits(head_bytes=2000, headers=20, body_bytes=100, keep_alive=5, send=30)
        self.site = Site(self.library, self.clock, RecordingMetrics(), limits)
        self.site.http2 = lambda: succeed(Http2())


class ChoosingTests(DoorwayTestCase):
    """What clients speak."""

    def test_first_bytes(self) -> None:
        """Who begins with the preface speaks HTTP/2, and others HTTP/1.1, in pieces of any size."""
        for size in (1, 2, 23, 24, 1000):
            for begin in (b"GET /a", b"POST /a", b"PUT /a", b"PRI /a"):
                exchange = Exchange(self.site)
                data = begin + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
                for at in range(0, len(data), size):
                    exchange.send_bytes(data[at : at + size])
                self.assertEqual(400 if begin.startswith(b"PRI") else 200, exchange.status)
            client = Http2Client(self.site)
            self.assertEqual(b"/a \n", client.send("GET", "/a").body)

    def test_preface_in_pieces(self) -> None:
        """The preface may come in any pieces, with what follows."""
        for size in (1, 5, 24, 30):
            exchange = Exchange(self.site)
            data = PREFACE + b"\0\0\0\4\0\0\0\0\0"
            for at in range(0, len(data), size):
                exchange.send_bytes(data[at : at + size])
            self.clock.advance(0)
            self.assertEqual(b"\4\0", exchange.raw[3:5])

    def test_chosen(self) -> None:
        """What was chosen in the handshake holds."""
        exchange = Exchange(self.site)
        exchange.transport.negotiatedProtocol = b"http/1.1"  # type: ignore[attr-defined]
        self.assertEqual(400, exchange.send_bytes(PREFACE).status)

    def test_chosen_later(self) -> None:
        """A handshake may be over with the first bytes only."""
        transport = Http2Client(self.site).transport
        for chosen, begins in ((b"h2", b"\0\0"), (b"http/1.1", b"HTTP/1.1 400")):
            exchange = Exchange(self.site)
            exchange.transport.negotiatedProtocol = chosen  # type: ignore[attr-defined]
            exchange.send_bytes(PREFACE)
            self.clock.advance(0)
            self.assertEqual(begins, exchange.raw[: len(begins)])
        self.assertTrue(transport.connected)

    def test_chosen_before(self) -> None:
        """Who has chosen HTTP/2 in a handshake that is over hears from us at once, and must speak it."""
        transport = StringTransport()
        transport.negotiatedProtocol = b"h2"  # type: ignore[attr-defined]
        exchange = Exchange(self.site, transport)
        self.assertEqual(b"\4\0", exchange.raw[3:5])
        exchange.send("GET", "/a")
        # The goodbye of one who breaks the protocol.
        self.assertEqual(b"\7\0\0\0\0\0\0\0\0\0\0\0\0\1", exchange.raw[-14:])
        self.assertTrue(transport.disconnecting)

    def test_only_one(self) -> None:
        """Without HTTP/2 there is none to choose."""
        self.assertEqual([b"h2", b"http/1.1"], self.site.acceptableProtocols())
        self.site.http2 = None
        self.assertEqual([b"http/1.1"], self.site.acceptableProtocols())
        self.assertEqual(400, Exchange(self.site).send_bytes(PREFACE).status)


class WaitingTests(DoorwayTestCase):
    """Clients that do not say what they speak."""

    def test_says_nothing(self) -> None:
        """A connection where nobody says anything is closed after a minute, and when the site closes."""
        for begun in (b"", PREFACE[:10]):
            exchange = Exchange(self.site).send_bytes(begun)
            self.clock.advance(59)
            self.assertFalse(exchange.transport.disconnecting)
            self.clock.advance(1)
            self.assertTrue(exchange.transport.disconnecting)
            exchange.send("GET", "/a").drop()
            self.assertEqual(b"", exchange.raw)
        exchange = Exchange(self.site).send_bytes(PREFACE[:10])
        closing = self.site.close()
        self.assertTrue(exchange.transport.disconnecting)
        self.assertNoResult(closing)
        exchange.drop()
        self.successResultOf(closing)
        self.assertEqual([], self.clock.getDelayedCalls())


class FindingTests(DoorwayTestCase):
    """What speaks HTTP/2 is found when it is wanted."""

    def test_slow(self) -> None:
        """What a client sends before that is there waits."""
        found: Deferred[Http2] = Deferred()
        self.site.http2 = lambda: found
        client = Http2Client(self.site)
        stream = client.send("GET", "/a")
        self.assertEqual((0, "paused"), (stream.status, client.transport.producerState))
        found.callback(Http2())
        client.pump()
        self.assertEqual((200, "producing"), (stream.status, client.transport.producerState))

    def test_missing(self) -> None:
        """When it cannot be had, the client is told to speak HTTP/1.1, the log says why, and it is offered no more."""
        waiting: list[Deferred[Http2]] = [Deferred(), Deferred()]
        asked = iter(waiting)
        self.site.http2 = lambda: next(asked)
        clients = [Http2Client(self.site) for _ in range(2)]
        for found, client in zip(waiting, clients, strict=True):
            found.errback(ImportError("no h2"))
            client.pump()
            self.assertEqual([13], [goodbye.code for goodbye in client.goodbyes])
            self.assertTrue(client.transport.disconnecting)
        self.assertEqual(1, len(self.flushLoggedErrors(ImportError)))
        self.assertIsNone(self.site.http2)

    def test_missing_for_others(self) -> None:
        """Who has connected before it was found to be missing, and asks later, is told so too."""
        transport = StringTransport()
        waiting = Exchange(self.site, transport)
        self.site.http2 = None
        waiting.send_bytes(PREFACE)
        self.assertTrue(waiting.raw.endswith(b"HTTP/2 is not spoken here."))
        self.assertTrue(transport.disconnecting)

    def test_late(self) -> None:
        """When it does not come in time, the client is told, and the log; a site that waits no more says goodbye."""
        for hasty in (False, True):
            found: Deferred[Http2] = Deferred()
            self.site.http2 = lambda found=found: found
            client = Http2Client(self.site)
            with capturedLogs() as events:
                if hasty:
                    self.site.close()
                    self.assertFalse(client.transport.disconnecting)
                    self.site.dismiss()
                else:
                    self.clock.advance(60)
            client.pump()
            code = 0 if hasty else 13
            self.assertEqual(([code], True), ([each.code for each in client.goodbyes], client.transport.disconnecting))
            self.assertEqual(0 if hasty else 1, len(events))
            client.drop()
            found.callback(Http2())

    def test_found_while_closing(self) -> None:
        """Requests that came before the site closed, and what they are to be answered with, are answered."""
        found: Deferred[Http2] = Deferred()
        self.site.http2 = lambda: found
        client = Http2Client(self.site)
        stream = client.send("GET", "/a")
        closing = self.site.close()
        found.callback(Http2())
        client.pump()
        self.assertEqual((200, True), (stream.status, stream.ended))
        self.assertEqual(([0], True), ([each.code for each in client.goodbyes], client.transport.disconnecting))
        client.drop()
        self.successResultOf(closing)

    def test_gone(self) -> None:
        """A client that leaves before it is there leaves nothing."""
        for result in (Http2(), Failure(ImportError("no h2"))):
            found: Deferred[Http2] = Deferred()
            self.site.http2 = lambda found=found: found
            Http2Client(self.site).drop()
            found.callback(result)
            self.assertEqual(set(), self.site.channels)
        self.assertEqual(1, len(self.flushLoggedErrors(ImportError)))
