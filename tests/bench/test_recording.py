"""Recordings: a stream in pieces, one for each token."""

from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from bench.recording import Recording

_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_END = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


def _event(text: bytes) -> bytes:
    event = b"data: %b\n\n" % text
    return b"%x\r\n%b\r\n" % (len(event), event)


class CutTests(SynchronousTestCase):
    """Cutting a stream."""

    def test_paced(self) -> None:
        """The role goes before the first token, and the end with the last one."""
        stream = _HEAD + _event(b"role") + _event(b"a") + _event(b"b") + _END
        expected = [_HEAD + _event(b"role"), _event(b"a"), _event(b"b") + _END]
        self.assertEqual(expected, Recording.cut(stream).pieces)

    def test_one_chunk(self) -> None:
        """Tokens that came in one chunk are pieces all the same, and together the bytes that there were."""
        stream = _HEAD + _event(b"role") + b"1e\r\ndata: a\n\ndata: b\n\ndata: cccc\n\n\r\n" + _END
        recording = Recording.cut(stream)
        self.assertEqual((4, stream), (len(recording.pieces), b"".join(recording.pieces)))
        self.assertEqual(b"data: b\n\n", recording.pieces[2])

    def test_incomplete(self) -> None:
        """A stream without its end, or with one token, is none that can be said again."""
        for stream in (_HEAD + _event(b"role") + _event(b"a"), _HEAD + _event(b"role") + _event(b"a") + _END):
            self.assertRaises(ValueError, Recording.cut, stream)

    def test_file(self) -> None:
        """What is written is read again, whatever bytes it has."""
        recording = Recording([b"head\n1\n", b"\n\n", b"", b"7\n"])
        with TemporaryDirectory() as folder:
            recording.write(Path(folder, "stream"))
            self.assertEqual(recording, Recording.read(Path(folder, "stream")))

    def test_bursts(self) -> None:
        """Pieces are written together as far as they fit, and none is left out."""
        recording = Recording([b"ab", b"c", b"defg", b"h", b"i"])
        self.assertEqual([[b"ab", b"c"], [b"defg"], [b"h", b"i"]], list(recording.bursts(3)))
