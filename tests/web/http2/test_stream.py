"""Streams of HTTP/2."""

from twisted.internet.testing import StringTransport

from tests.http2client import Http2Client
from tests.web.test_doorway import DoorwayTestCase


class EndTests(DoorwayTestCase):
    """How streams end."""

    def setUp(self) -> None:
        """Connect."""
        super().setUp()
        self.client = Http2Client(self.site)

    def test_cancelled(self) -> None:
        """A request whose client has cancelled it is over; the others go on."""
        first, second = (self.client.begin("GET", "/later", end=True) for _ in range(2))
        first.cancel()
        self.assertEqual([True, False], [request.gone for request in self.library.later])
        self.library.answer(self.library.later[1])
        self.client.pump()
        self.assertEqual(200, second.status)


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
