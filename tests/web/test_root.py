"""The root of the URL tree."""

from tests.harness import RankTestCase


class RootTests(RankTestCase):
    """Paths and methods."""

    def setUp(self) -> None:
        """Serve a rank."""
        self.make_rank()

    def test_unknown(self) -> None:
        """An unknown path is 404, a known one with another method 405 with the methods it has."""
        exchange = self.get("/nope")
        self.assertEqual((404, {"detail": "Not Found"}), (exchange.status, exchange.json()))
        exchange = self.connect().send("HEAD", "/health")
        self.assertEqual((405, "GET"), (exchange.status, exchange.headers["allow"]))
        self.assertEqual("GET, POST", self.connect().send("PUT", "/ping").headers["allow"])

    def test_trailing_slash(self) -> None:
        """A known path with a slash behind it is redirected, with the query and without a body."""
        exchange = self.get("/v1/models/?a=b")
        self.assertEqual((307, b""), (exchange.status, exchange.body))
        self.assertEqual("http://example.test/v1/models?a=b", exchange.headers["location"])
        exchange = self.connect().send_bytes(b"GET /v1/models/ HTTP/1.0\r\n\r\n")
        self.assertEqual("/v1/models", exchange.headers["location"])
        self.assertEqual(404, self.get("/nope/").status)

    def test_strange_paths(self) -> None:
        """Paths that are no text, stars and absolute addresses are answered in JSON."""
        for path in ("/%ff", "*", "http://x/health", "//", "/v1/models%2f"):
            exchange = self.get(path)
            self.assertEqual((404, "application/json"), (exchange.status, exchange.headers["content-type"]))

    def test_strange_headers(self) -> None:
        """Headers that are no UTF-8 do no harm, and a request id that is none comes back as it is read."""
        head = (
            b"POST /v1/completions HTTP/1.1\r\nHost: \xff\r\nX-Request-Id: \xfc\r\nContent-Type: application/json\r\n"
        )
        exchange = self.connect().send_bytes(head + b'Content-Length: 14\r\n\r\n{"prompt":"a"}')
        self.clock.advance(0)
        self.assertEqual((200, "cmpl-\xfc"), (exchange.status, exchange.json()["id"]))

    def test_paths(self) -> None:
        """The tree has the routes of every module."""
        expected = [
            ("/detokenize", ["POST"]),
            ("/health", ["GET"]),
            ("/health/ready", ["GET"]),
            ("/metrics", ["GET"]),
            ("/metrics/", ["GET"]),
            ("/ping", ["GET", "POST"]),
            ("/ready", ["GET"]),
            ("/tokenize", ["POST"]),
            ("/v1/chat/completions", ["POST"]),
            ("/v1/completions", ["POST"]),
            ("/v1/models", ["GET"]),
            ("/version", ["GET"]),
        ]
        self.assertEqual(expected, self.rank.resource.paths())
