"""What goes out on a connection."""

from h2.settings import SettingCodes
from hyperframe.frame import SettingsFrame

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

    def test_many_tiny_windows(self) -> None:
        """Who has room for one byte in each of many streams is not sent them all in one turn."""
        client = Http2Client(self.site, settings={SettingCodes.INITIAL_WINDOW_SIZE: 0})
        for _ in range(1100):
            client.begin("GET", "/abc", end=True)
        client.protocol.dataReceived(SettingsFrame(settings={SettingCodes.INITIAL_WINDOW_SIZE: 1}).serialize())
        one = b"\0\0\1\0\0"
        self.assertEqual(1024, client.transport.value().count(one))
        self.clock.advance(0)
        self.assertEqual(1100, client.transport.value().count(one))

    def test_window_grows(self) -> None:
        """A client may make room in all streams at once."""
        client = Http2Client(self.site, settings={SettingCodes.INITIAL_WINDOW_SIZE: 0})
        streams = [client.send("GET", "/abc") for _ in range(2)]
        self.assertEqual([(200, b"", False)] * 2, [(each.status, each.body, each.ended) for each in streams])
        client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 100})
        client.pump()
        self.assertEqual([(b"/abc \n", True)] * 2, [(each.body, each.ended) for each in streams])

    def test_too_much_for_one_write(self) -> None:
        """What is too much for one piece goes out within the turn, so that the socket can say when it is full."""
        room: dict[SettingCodes | int, int] = {SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20}
        client = Http2Client(self.site, settings=room)
        client.h2.increment_flow_control_window(1 << 24)
        client.pump()
        streams = [client.begin("GET", "/later", end=True) for _ in range(20)]
        for request in self.library.later:
            request.write(b"x" * 16_384)
        self.assertGreater(len(client.transport.value()), 1 << 18)
        client.pump()
        self.assertEqual([16_384] * 20, [len(stream.body) for stream in streams])

    def test_large(self) -> None:
        """A very large answer does not go out in one turn, though the client has room for all of it."""
        client = Http2Client(self.site, settings={SettingCodes.INITIAL_WINDOW_SIZE: 1 << 24})
        client.h2.increment_flow_control_window(1 << 24)
        client.pump()
        stream = client.begin("GET", "/later", end=True)
        turns: list[int] = []
        write = client.protocol._channel.out._write

        def count(data: bytes) -> None:
            turns.append(len(data))
            write(data)

        client.protocol._channel.out._write = count
        self.library.later[0].answer(200, b"x" * 3_000_000, None)
        self.library.later[0].finish()
        client.pump()
        self.assertEqual((3_000_000, True), (len(stream.body), stream.ended))
        self.assertLess(max(turns), 300_000)

    def test_nothing_behind_the_end(self) -> None:
        """What is written to a connection that is closed goes nowhere."""
        client = Http2Client(self.site)
        stream = client.begin("POST", "/b")
        out = client.protocol._channel.out
        client.protocol._channel.loseConnection()
        client.pump()
        out.put(b"x" * 300_000)
        out.flush_soon()
        client.pump()
        self.assertEqual((0, b""), (stream.status, client.transport.value()))
