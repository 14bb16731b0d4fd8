"""Heads of requests of HTTP/2."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.web.http2.head import Malformed, RequestHead, read_head

Fields = list[tuple[bytes, bytes]]

GET: Fields = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/a?b")]


class HeadTests(SynchronousTestCase):
    """What becomes of fields."""

    def test_request(self) -> None:
        """A head has a method and a target, and the authority is its host."""
        fields = [*GET, (b":authority", b"x:1"), (b"accept", b"*/*")]
        self.assertEqual(
            RequestHead(b"GET", b"/a?b", [(b"host", b"x:1"), (b"accept", b"*/*")]),
            read_head(fields, 9),
        )

    def test_host(self) -> None:
        """A host that is there is kept."""
        self.assertEqual([(b"host", b"y")], read_head([*GET, (b":authority", b"x"), (b"host", b"y")], 9).headers)

    def test_cookies(self) -> None:
        """What a client remembers is one header."""
        head = read_head([*GET, (b"cookie", b"a=1"), (b"x", b""), (b"cookie", b"b=2")], 9)
        self.assertEqual([(b"x", b""), (b"cookie", b"a=1; b=2")], head.headers)

    def test_other_targets(self) -> None:
        """A target may be the server itself, or another's address."""
        head = read_head([(b":method", b"OPTIONS"), (b":scheme", b"http"), (b":path", b"*")], 9)
        self.assertEqual((b"OPTIONS", b"*"), (head.method, head.target))
        head = read_head([(b":method", b"CONNECT"), (b":authority", b"x:1")], 9)
        self.assertEqual((b"CONNECT", b"x:1"), (head.method, head.target))

    def test_malformed(self) -> None:
        """What is no head of a request is refused."""
        for fields in (
            [],
            GET[1:],
            [*GET[:1], *GET[2:]],
            GET[:2],
            [*GET, GET[0]],
            [*GET, (b":status", b"200")],
            [GET[0], (b"x", b"y"), *GET[1:]],
            [*GET[:2], (b":path", b"")],
            [*GET[:2], (b":path", b"/a b")],
            [(b":method", b"G T"), *GET[1:]],
            [*GET, (b"X", b"y")],
            [*GET, (b"", b"y")],
            [*GET, (b"x", b"a\r\nb: c")],
            [*GET, (b"connection", b"close")],
            [*GET, (b"transfer-encoding", b"chunked")],
            [*GET, (b"te", b"gzip")],
            [*GET, (b":authority", b"x\0")],
            [(b":method", b"CONNECT"), *GET[1:]],
            [(b":method", b"CONNECT")],
        ):
            self.assertRaises(Malformed, read_head, fields, 9)
        self.assertEqual([(b"te", b"trailers")], read_head([*GET, (b"te", b"trailers")], 9).headers)

    def test_too_many(self) -> None:
        """There may be only so many fields."""
        self.assertEqual([], read_head(GET, 3).headers)
        self.assertRaises(Malformed, read_head, GET, 2)
