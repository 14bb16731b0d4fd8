"""Cross-origin requests."""

from typing import Any

from tests.harness import Exchange, RankTestCase

METHODS = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, QUERY"
ORIGIN = "http://page.test"


class CorsTests(RankTestCase):
    """What browsers are told."""

    def preflight(self, origin: str = ORIGIN, method: str = "POST", **headers: str) -> Exchange:
        """Ask whether a page may send a request."""
        path = "/v1/chat/completions"
        return self.connect().send(
            "OPTIONS", path, None, Origin=origin, Access_Control_Request_Method=method, **headers
        )

    def cors(self, exchange: Exchange) -> dict[str, str]:
        """The headers for browsers, without what their names begin with."""
        prefix = "access-control-"
        return {name.removeprefix(prefix): value for name, value in exchange.headers.items() if name.startswith(prefix)}

    def test_default(self) -> None:
        """By default no page of another origin may call: a preflight is 400, and no response names an origin."""
        self.make_rank()
        refused = self.preflight(Access_Control_Request_Headers="x-a")
        self.assertEqual((400, b"Disallowed CORS origin"), (refused.status, refused.body))
        self.assertEqual("text/plain; charset=utf-8", refused.headers["content-type"])
        self.assertEqual({"allow-methods": METHODS, "max-age": "600", "allow-headers": "x-a"}, self.cors(refused))
        self.assertEqual({}, self.cors(self.get("/health", Origin=ORIGIN)))

    def test_any(self) -> None:
        """Where all origins may call, responses have a star, preflights too, and headers are mirrored."""
        self.make_rank("--allowed-origins", '["*"]')
        allowed = self.preflight(Access_Control_Request_Headers="Authorization, x-a")
        self.assertEqual((200, b"OK"), (allowed.status, allowed.body))
        self.assertEqual(
            {"allow-methods": METHODS, "max-age": "600", "allow-headers": "Authorization, x-a", "allow-origin": "*"},
            self.cors(allowed),
        )
        self.assertNotIn("allow-headers", self.cors(self.preflight()))
        self.assertEqual({"allow-origin": "*"}, self.cors(self.get("/health", Origin=ORIGIN)))
        self.assertEqual({}, self.cors(self.get("/health")))
        self.assertEqual({"allow-origin": ORIGIN}, self.cors(self.get("/health", Origin=ORIGIN, Cookie="a=b")))

    def test_every_answer(self) -> None:
        """Whole answers, streams, errors, unknown paths and refused bodies all say that the page may read them."""
        self.make_rank("--allowed-origins", '["http://page.test"]', "--max-request-body-size-mb", "1")
        body: dict[str, Any] = {"prompt": "a", "max_tokens": 2}
        exchanges = [
            self.post("/v1/completions", body, Origin=ORIGIN),
            self.post("/v1/completions", {**body, "stream": True}, Origin=ORIGIN),
            self.post("/v1/completions", b"{", Origin=ORIGIN),
            self.get("/nope", Origin=ORIGIN),
            self.connect().send("OPTIONS", "/health", None, Origin=ORIGIN),
            self.post("/v1/completions", b" " * ((1 << 20) + 1), Origin=ORIGIN),
            self.connect().send_bytes(
                b"POST / HTTP/1.1\r\nOrigin: http://page.test\r\nContent-Length: 9999999\r\n"
                b"Expect: 100-continue\r\n\r\n"
            ),
        ]
        self.assertEqual([200, 200, 400, 404, 405, 413, 413], [exchange.status for exchange in exchanges])
        for exchange in exchanges:
            self.assertEqual({"allow-origin": ORIGIN}, self.cors(exchange))
            self.assertEqual("Origin", exchange.headers["vary"])

    def test_some(self) -> None:
        """A page of an origin that is not listed is refused, one that is listed is named."""
        self.make_rank("--allowed-origins", '["http://page.test", "http://other.test"]')
        self.assertEqual((200, ORIGIN), (self.preflight().status, self.cors(self.preflight())["allow-origin"]))
        refused = self.preflight("http://evil.test")
        self.assertEqual((400, b"Disallowed CORS origin"), (refused.status, refused.body))
        self.assertNotIn("allow-origin", self.cors(refused))
        self.assertEqual({}, self.cors(self.get("/health", Origin="http://evil.test")))

    def test_limits(self) -> None:
        """Everything that is not allowed is named: origin, method and headers; usual headers always are allowed."""
        words = ("--allowed-origins", '["http://page.test"]', "--allowed-methods", '["GET"]', "--allowed-headers")
        self.make_rank(*words, '["X-A"]')
        refused = self.preflight("http://evil.test", Access_Control_Request_Headers="x-b")
        self.assertEqual(b"Disallowed CORS origin, method, headers", refused.body)
        self.assertEqual(b"Disallowed CORS method", self.preflight().body)
        self.assertEqual(b"Disallowed CORS headers", self.preflight(
            method="GET", Access_Control_Request_Headers="x-a, x-b").body)  # fmt: skip
        allowed = self.preflight(method="GET", Access_Control_Request_Headers="content-type, X-a")
        self.assertEqual((200, "GET"), (allowed.status, self.cors(allowed)["allow-methods"]))
        self.assertEqual(
            "Accept, Accept-Language, Content-Language, Content-Type, X-A", self.cors(allowed)["allow-headers"]
        )

    def test_credentials(self) -> None:
        """With credentials, responses say so, and a preflight names the origin even where all may call."""
        self.make_rank("--allowed-origins", '["*"]', "--allow-credentials")
        self.assertEqual(
            {"allow-credentials": "true", "allow-methods": METHODS, "allow-origin": ORIGIN, "max-age": "600"},
            self.cors(self.preflight()),
        )
        self.assertEqual(
            {"allow-credentials": "true", "allow-origin": "*"}, self.cors(self.get("/health", Origin=ORIGIN))
        )

    def test_no_preflight(self) -> None:
        """OPTIONS without the headers of a preflight is a method like another, which no route has."""
        self.make_rank("--allowed-origins", '["*"]')
        for headers in ({}, {"Origin": ORIGIN}, {"Access_Control_Request_Method": "GET"}):
            exchange = self.connect().send("OPTIONS", "/v1/models", None, **headers)
            self.assertEqual((405, {"detail": "Method Not Allowed"}), (exchange.status, exchange.json()))
            self.assertEqual("GET", exchange.headers["allow"])

    def test_metrics(self) -> None:
        """Preflights are not counted, as no route sees them, and have a request id where responses have one."""
        self.make_rank("--enable-request-id-headers")
        self.assertIn("x-request-id", self.preflight().headers)
        self.assertNotIn(b"OPTIONS", self.get("/metrics").body)
