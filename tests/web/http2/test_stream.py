"""Streams of HTTP/2."""

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
