"""Thousands of streams."""

from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import RequestReceived, StreamEnded
from h2.exceptions import TooManyStreamsError
from h2.settings import SettingCodes, Settings
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.web.http2.counting import CountedConnection

_FIELDS = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"localhost"), (b":path", b"/")]


class CountedConnectionTests(SynchronousTestCase):
    """A server that lets a hundred streams be open at once, and its client."""

    def setUp(self) -> None:
        """Connect them."""
        self.client = H2Connection(H2Configuration(header_encoding=None))
        self.server = CountedConnection(H2Configuration(client_side=False, header_encoding=None))
        self.server.local_settings = Settings(client=False, initial_values={SettingCodes.MAX_CONCURRENT_STREAMS: 100})
        self.client.initiate_connection()
        self.server.initiate_connection()
        self.server.receive_data(self.client.data_to_send())
        # The client is not told of the limit.
        self.server.clear_outbound_data_buffer()

    def begin(self, count: int) -> list[int]:
        """Begin streams, and tell their numbers."""
        numbers = []
        for _ in range(count):
            numbers.append(self.client.get_next_available_stream_id())
            self.client.send_headers(numbers[-1], _FIELDS, end_stream=True)
            events = self.server.receive_data(self.client.data_to_send())
            self.assertEqual([RequestReceived], [type(event) for event in events if not isinstance(event, StreamEnded)])
        return numbers

    def end(self, numbers: list[int]) -> None:
        """Answer streams."""
        for number in numbers:
            self.server.send_headers(number, [(b":status", b"204")], end_stream=True)
            self.client.receive_data(self.server.data_to_send())

    def test_limit(self) -> None:
        """As many streams may be open as the limit says, and one more is one too many."""
        self.begin(100)
        with self.assertRaises(TooManyStreamsError):
            self.begin(1)

    def test_limit_after_others(self) -> None:
        """Streams that have come to their end make room, however they came to it."""
        for _ in range(20):
            numbers = self.begin(100)
            self.end(numbers[:60])
            for number in numbers[60:]:
                self.client.reset_stream(number, ErrorCodes.CANCEL)
            self.server.receive_data(self.client.data_to_send())
        self.begin(100)
        with self.assertRaises(TooManyStreamsError):
            self.begin(1)

    def test_forgotten(self) -> None:
        """What is over is forgotten: one stream after another leaves nothing behind but the last few."""
        for _ in range(500):
            self.end(self.begin(1))
        self.assertTrue(len(self.server.streams) < 40)

    def test_cost(self) -> None:
        """Who makes calls beside forty that last does not have all of them counted for each."""
        counts: list[int] = []
        whole: Any = H2Connection.open_inbound_streams

        def count(connection: H2Connection) -> int:
            counts.append(whole.fget(connection))
            return counts[-1]

        self.patch(H2Connection, "open_inbound_streams", property(count))
        self.begin(40)
        for _ in range(800):
            self.end(self.begin(1))
        self.assertTrue(0 < len(counts) <= 800 / 40, len(counts))
