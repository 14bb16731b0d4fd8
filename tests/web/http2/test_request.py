"""Exchanges over HTTP/2."""

from tests.http2client import Http2Client
from tests.web.test_doorway import DoorwayTestCase


class TrailersTests(DoorwayTestCase):
    """What is behind a body."""

    def setUp(self) -> None:
        """Connect."""
        super().setUp()
        self.client = Http2Client(self.site)

    def test_trailers(self) -> None:
        """Fields behind the body, or in the place of one."""
        stream = self.client.begin("GET", "/later", end=True)
        alone = self.client.begin("GET", "/later", end=True)
        one, other = self.library.later
        one.trailers = other.trailers = [(b"grpc-status", b"0")]  # type: ignore[attr-defined]
        one.write(b"some")
        one.finish()
        other.finish()
        self.client.pump()
        self.assertEqual(({"grpc-status": "0"}, b"some", True), (stream.trailers, stream.body, stream.ended))
        self.assertEqual(("0", {}, True), (alone.headers["grpc-status"], alone.trailers, alone.ended))
