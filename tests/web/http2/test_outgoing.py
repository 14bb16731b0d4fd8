"""What goes out on a connection."""

from h2.settings import SettingCodes

from tests.http2client import Http2Client
from tests.web.test_doorway import DoorwayTestCase


class TurnsTests(DoorwayTestCase):
    """Several streams, and little room."""

    def test_one_write(self) -> None:
        """What many streams write in a turn goes to the socket in one piece."""
        client = Http2Client(self.site)
        streams = [client.begin("GET", "/later", end=True) for _ in range(10)]
        for request in self.library.later:
            request.write(b"some")
        writes: list[bytes] = []
        client.protocol._channel.out._write = writes.append
        self.clock.advance(0)
        self.assertEqual((1, 10), (len(writes), writes[0].count(b"some")))
        self.assertEqual(0, streams[0].status)

    def test_turns(self) -> None:
        """Large answers that a client has little room for come in turns."""
        client = Http2Client(self.site, reads=False)
        streams = [client.begin("GET", "/later", end=True) for _ in range(3)]
        for request in self.library.later:
            request.write(b"x" * 60_000)
        client.pump()
        self.assertEqual(65_535, sum(len(stream.body) for stream in streams))
        self.assertTrue(all(len(stream.body) > 16_000 for stream in streams))
        for _ in range(5):
            for stream in streams:
                stream.read()
        self.assertEqual([60_000] * 3, [len(stream.body) for stream in streams])

    def test_tiny_window(self) -> None:
        """A client may have room for one byte at a time."""
        client = Http2Client(self.site, settings={SettingCodes.INITIAL_WINDOW_SIZE: 1})
        stream = client.send("GET", "/abc")
        self.assertEqual((b"/abc \n", True), (stream.body, stream.ended))

    def test_window_grows(self) -> None:
        """A client may make room in all streams at once."""
        client = Http2Client(self.site, settings={SettingCodes.INITIAL_WINDOW_SIZE: 0})
        streams = [client.send("GET", "/abc") for _ in range(2)]
        self.assertEqual([(200, b"", False)] * 2, [(each.status, each.body, each.ended) for each in streams])
        client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 100})
        client.pump()
        self.assertEqual([(b"/abc \n", True)] * 2, [(each.body, each.ended) for each in streams])
