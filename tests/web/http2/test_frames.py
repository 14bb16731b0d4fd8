"""Frames of HTTP/2."""

from h2.errors import ErrorCodes
from hyperframe.frame import DataFrame, GoAwayFrame, PingFrame
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.web.doorway import PREFACE
from vllmsim.web.http2.frames import PING, Broken, Frames, data_frame, goaway_frame, ping_frame


class FramesTests(SynchronousTestCase):
    """Cutting what comes."""

    def test_pieces(self) -> None:
        """Frames are the same in whatever pieces they come."""
        sent = [PingFrame(0, b"12345678").serialize(), DataFrame(3, b"x" * 300).serialize(), PingFrame(0).serialize()]
        data = PREFACE + b"".join(sent)
        for size in (1, 7, 24, 40, 1000):
            frames = Frames(16384, 1000)
            came = []
            for at in range(0, len(data), size):
                frames.feed(data[at : at + size])
                while (frame := frames.next()) is not None:
                    came.append(frame)
            self.assertEqual(sent, [frame.data for frame in came])
            self.assertEqual((PING, 0, 3, 300), (came[0].kind, came[0].stream, came[1].stream, came[1].length))
            self.assertFalse(frames.waits)

    def test_no_frames(self) -> None:
        """What does not begin with the preface is no HTTP/2, which its first wrong byte tells."""
        frames = Frames(16384, 1000)
        frames.feed(b"PRI * HTTP/1")
        self.assertEqual(ErrorCodes.PROTOCOL_ERROR, self.assertRaises(Broken, frames.next).code)

    def test_too_long(self) -> None:
        """A frame that is too long is refused before it comes."""
        frames = Frames(16384, 1000)
        frames.feed(PREFACE + DataFrame(1, b"x" * 16385).serialize()[:9])
        self.assertEqual(ErrorCodes.FRAME_SIZE_ERROR, self.assertRaises(Broken, frames.next).code)


class WritingTests(SynchronousTestCase):
    """Writing frames."""

    def test_data(self) -> None:
        """A frame of data is what others write."""
        for length in (0, 1, 255, 256, 70000):
            self.assertEqual(DataFrame(5, b"x" * length).serialize(), data_frame(5, b"x" * length))

    def test_ping(self) -> None:
        """A ping is what others write."""
        self.assertEqual(PingFrame(0).serialize(), ping_frame())

    def test_goaway(self) -> None:
        """A goodbye is what others write."""
        self.assertEqual(GoAwayFrame(0, 7, 11).serialize(), goaway_frame(7, 11))
