"""The root of the URL tree."""

from typing import ClassVar
from urllib.parse import quote

from klein import Klein
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import RecordingMetrics
from tests.harness import Exchange, RankTestCase
from vllmsim.web.request import Request
from vllmsim.web.root import RankResource
from vllmsim.web.site import Limits, Site


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
        """Paths that are no text, stars and addresses of nothing are answered in JSON."""
        for path in ("/%ff", "*", "http://x", "http://x?/health", "ftp://x/health", "//", "//x/health", "/health%00"):
            exchange = self.get(path)
            self.assertEqual((404, "application/json"), (exchange.status, exchange.headers["content-type"]))

    def test_other_spellings(self) -> None:
        """A target may be a whole address, as proxies are sent it, and any character of a path in percent signs."""
        for path in ("http://x/health", "HTTPS://me@x:1/health?a=b", "/%68ealth", "/he%61lth?x"):
            self.assertEqual(200, self.get(path).status, path)
        for path in ("http://x/v1/models/?a", "/v1/models%2f?a", "/v1/models%2F?a"):
            exchange = self.get(path)
            self.assertEqual((307, "http://example.test/v1/models?a"), (exchange.status, exchange.headers["location"]))

    def test_strange_headers(self) -> None:
        """Headers that are no UTF-8 do no harm, and a request id that is none comes back as it is read."""
        head = (
            b"POST /v1/completions HTTP/1.1\r\nHost: \xff\r\nX-Request-Id: \xfc\r\nContent-Type: application/json\r\n"
        )
        exchange = self.connect().send_bytes(head + b'Content-Length: 14\r\n\r\n{"prompt":"a"}')
        self.clock.advance(0)
        self.assertEqual((200, "cmpl-\xfc"), (exchange.status, exchange.json()["id"]))

    def test_paths(self) -> None:
        """The tree has the routes of every module, each with its methods."""
        expected = {("/health", "GET"), ("/metrics", "GET"), ("/ping", "GET POST"), ("/v1/completions", "POST")}
        self.assertLessEqual(expected, {(path, " ".join(methods)) for path, methods in self.rank.resource.paths()})


class Books:
    """Routes whose paths have a part that varies."""

    app: ClassVar[Klein] = Klein()

    @app.route("/books/new", methods=["GET"])
    def new(self, request: Request) -> None:
        """Answer an exact path."""
        request.answer(200, b"new")

    @app.route("/books/<name>", methods=["DELETE", "GET"])
    def book(self, request: Request, name: str) -> None:
        """Answer with what varies."""
        request.answer(200, name.encode())

    @app.route("/books/<name>/close", methods=["POST"])
    def close(self, request: Request, name: str) -> None:
        """Answer with what varies, and more."""
        request.answer(200, f"closed {name}".encode())


class TemplateTests(SynchronousTestCase):
    """Paths with a segment that varies."""

    def setUp(self) -> None:
        """Serve books."""
        self.metrics = RecordingMetrics()
        self.resource = RankResource([Books().app])

    def send(self, path: str, method: str = "GET") -> Exchange:
        """Send a request."""
        site = Site(self.resource, Clock(), self.metrics, Limits(1000, 10, 100, 5))
        return Exchange(site).send(method, path)

    def test_found(self) -> None:
        """A path that fits a template is answered with its segment, whatever text that is; exact paths come first."""
        for name in ("a", "close", "a b", "%", "\n", "a\nb", "..", "|", "a|b", "\0", "<name>", "{name}", "\u00e9"):
            exchange = self.send(f"/books/{quote(name)}")
            self.assertEqual((200, name), (exchange.status, exchange.body.decode()))
        self.assertEqual(b"new", self.send("/books/new").body)
        self.assertEqual(b"closed new", self.send("/books/new/close", "POST").body)

    def test_not_found(self) -> None:
        """An empty segment, two of them, and bytes that are no text are unknown paths."""
        for path in (
            "/books/",
            "/books/a%2fb",
            "/books/a/b",
            "/books/%ff",
            "/books//close",
            "/books/close/close/close",
        ):
            exchange = self.send(path)
            self.assertEqual((404, {"detail": "Not Found"}), (exchange.status, exchange.json()), path)

    def test_methods(self) -> None:
        """Another method is 405, with the methods of the template."""
        exchange = self.send("/books/a", "POST")
        self.assertEqual((405, "DELETE, GET"), (exchange.status, exchange.headers["allow"]))
        exchange = self.send("/books/a/close")
        self.assertEqual((405, "POST"), (exchange.status, exchange.headers["allow"]))

    def test_trailing_slash(self) -> None:
        """A slash behind is redirected away, and the segment stays as it was written."""
        exchange = self.send("/books/a%20b/?c")
        self.assertEqual((307, "http://example.test/books/a%20b?c"), (exchange.status, exchange.headers["location"]))

    def test_metrics(self) -> None:
        """Metrics hear of templates, not of paths: a client must not make series."""
        for path in ("/books/a", "/books/b/", "/books/c/d"):
            self.send(path)
        self.assertEqual(["/books/{name}", "/books/{name}/", "none"], self.metrics.names())

    def test_paths(self) -> None:
        """Templates are listed with the exact paths."""
        expected = [("/books/new", ["GET"]), ("/books/{name}", ["DELETE", "GET"]), ("/books/{name}/close", ["POST"])]
        self.assertEqual(expected, self.resource.paths())


class MatrixTests(RankTestCase):
    """What holds for every route of a rank alike, as FastAPI has it."""

    def setUp(self) -> None:
        """Serve a rank, and know its routes."""
        self.make_rank()
        self.routes = [
            (path.replace("{", "").replace("}", ""), allowed) for path, allowed in self.rank.resource.paths()
        ]

    def test_methods(self) -> None:
        """Every method that a route does not have is 405 with those that it has: HEAD beside GET, and OPTIONS too."""
        for path, allowed in self.routes:
            for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"} - set(allowed):
                exchange = self.connect().send(method, path)
                seen = exchange.status, exchange.headers["allow"], exchange.headers["content-type"]
                self.assertEqual((405, ", ".join(allowed), "application/json"), seen, f"{method} {path}")
                self.assertEqual(b"" if method == "HEAD" else b'{"detail":"Method Not Allowed"}', exchange.body)

    def test_trailing_slash(self) -> None:
        """Every path with a slash behind it is redirected, whatever the method, unless it is a path itself."""
        paths = {path for path, _ in self.routes}
        for path in paths:
            if path.endswith("/") or f"{path}/" in paths:
                continue
            for method in ("GET", "POST", "OPTIONS"):
                exchange = self.connect().send(method, f"{path}/?a=b")
                seen = exchange.status, exchange.headers["location"], exchange.body
                self.assertEqual((307, f"http://example.test{path}?a=b", b""), seen)

    def test_unknown(self) -> None:
        """Everything below a path is unknown, by any method, and so is its path in capitals."""
        paths = {path for path, _ in self.routes}
        for path in paths:
            for unknown in (f"{path}/x/y/z", path.upper(), f"/{path}"):
                for method in ("GET", "HEAD", "POST", "DELETE", "OPTIONS"):
                    exchange = self.connect().send(method, unknown)
                    seen = exchange.status, exchange.headers["content-type"], exchange.body
                    body = b"" if method == "HEAD" else b'{"detail":"Not Found"}'
                    self.assertEqual((404, "application/json", body), seen, f"{method} {unknown}")
