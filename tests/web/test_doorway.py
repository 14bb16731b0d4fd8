"""The beginning of connections to a port where both HTTP/1.1 and HTTP/2 are spoken."""

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
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

    def test_only_one(self) -> None:
        """Without HTTP/2 there is none to choose."""
        self.assertEqual([b"h2", b"http/1.1"], self.site.acceptableProtocols())
        self.site.http2 = None
        self.assertEqual([b"http/1.1"], self.site.acceptableProtocols())
        self.assertEqual(400, Exchange(self.site).send_bytes(PREFACE).status)


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
