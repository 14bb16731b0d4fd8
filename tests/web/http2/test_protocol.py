"""What clients are told at the beginning."""

from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.web.http2.protocol import speak


class SpeakTests(SynchronousTestCase):
    """A connection's beginning."""

    def test_settings(self) -> None:
        """Clients are told how much they may send: many streams, large prompts, and heads up to a size."""
        client = H2Connection(H2Configuration(client_side=True))
        client.initiate_connection()
        client.receive_data(speak(5000).data_to_send())
        self.assertEqual((10_000, 1 << 20, 1 << 16, 5000), tuple(client.remote_settings[code] for code in (
            SettingCodes.MAX_CONCURRENT_STREAMS, SettingCodes.INITIAL_WINDOW_SIZE,
            SettingCodes.MAX_FRAME_SIZE, SettingCodes.MAX_HEADER_LIST_SIZE)))  # fmt: skip
        self.assertEqual(1 << 24, client.outbound_flow_control_window)

    def test_streams_are_forgotten(self) -> None:
        """Streams that are closed do not pile up, however many there are."""
        client, server = H2Connection(H2Configuration(client_side=True)), speak(5000)
        client.initiate_connection()
        client.clear_outbound_data_buffer()
        fields = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "x")]
        for number in range(1, 2001, 2):
            client.send_headers(number, fields, end_stream=True)
            server.receive_data(client.data_to_send())
            server.send_headers(number, [(":status", "200")], end_stream=True)
        self.assertLess(len(server.streams), 200)

    def test_cost(self) -> None:
        """A stream costs no more where there are many: they are not all counted for each."""
        counts: list[int] = []
        whole: Any = H2Connection.open_inbound_streams

        def count(connection: H2Connection) -> int:
            counts.append(whole.fget(connection))
            return counts[-1]

        self.patch(H2Connection, "open_inbound_streams", property(count))
        client, server = H2Connection(H2Configuration(client_side=True)), speak(5000)
        client.initiate_connection()
        fields = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "x")]
        for number in range(1, 1601, 2):
            client.send_headers(number, fields)
        server.receive_data(client.data_to_send()[24:])
        self.assertEqual(800, len(server.streams))
        self.assertTrue(0 < len(counts) < 10, len(counts))
