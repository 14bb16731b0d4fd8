"""Connections of HTTP/2."""

from tests.http2client import Http2Client
from tests.web.test_doorway import DoorwayTestCase


class ExchangeTests(DoorwayTestCase):
    """Requests and their answers."""

    def setUp(self) -> None:
        """Connect."""
        super().setUp()
        self.client = Http2Client(self.site)

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
        streams = [self.client.begin("GET", "/later", end=True) for _ in range(300)]
        self.assertEqual(300, len(self.library.later))
        for request in self.library.later:
            self.library.answer(request)
        self.client.pump()
        self.assertEqual({(200, True)}, {(stream.status, stream.ended) for stream in streams})
