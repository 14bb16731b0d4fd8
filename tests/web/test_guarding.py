"""Who may administer."""

from hmac import compare_digest

from tests.harness import Exchange, RankTestCase
from vllmsim.web import guarding

KEY = "schlüssel"


class PageTests(RankTestCase):
    """Pages in browsers."""

    def status(self, path: str = "/admin/config", method: str = "POST", **headers: str) -> int:
        """Send what a page can without asking."""
        return self.connect().send(method, path, b"{}", **headers).status

    def test_foreign(self) -> None:
        """A page of another origin changes nothing, whatever browser shows it; who is no browser is not asked."""
        self.make_rank()
        for path in ("/admin/config", "/pause", "/sleep", "/abort_requests", "/collective_rpc"):
            for headers in (
                {"Origin": "http://evil.example"},
                {"Origin": "null"},
                {"Origin": "http://example.test:8001"},
                {"Origin": "http://example.test", "Sec_Fetch_Site": "same-site"},
                {"Sec_Fetch_Site": "cross-site"},
            ):
                self.assertEqual(403, self.status(path, **headers), (path, headers))
        self.assertEqual(405, self.status("/pause", "GET", Origin="http://evil.example"))
        self.assertEqual({"is_paused": False}, self.get("/is_paused").json())

    def test_own(self) -> None:
        """The server's own pages may, behind a proxy with TLS too; so may programs, and anyone may look."""
        self.make_rank()
        for headers in (
            {},
            {"Origin": "http://example.test"},
            {"Origin": "https://example.test"},
            {"Origin": "https://proxy.example", "Sec_Fetch_Site": "same-origin"},
            {"Sec_Fetch_Site": "none"},
        ):
            self.assertEqual(200, self.status(**headers), headers)
        self.assertEqual(200, self.status(method="GET", Origin="http://evil.example"))

    def test_allowed(self) -> None:
        """Pages may whose origin is allowed, from the moment on when it is."""
        self.make_rank("--allowed-origins", '["https://ours.example"]')
        self.assertEqual(200, self.status(Origin="https://ours.example", Sec_Fetch_Site="cross-site"))
        self.assertEqual(403, self.status(Origin="https://evil.example"))
        self.assertEqual(403, self.status(Sec_Fetch_Site="cross-site"))
        self.assertEqual(200, self.connect().send("POST", "/admin/config", b'{"allowed-origins": ["*"]}').status)
        self.assertEqual(200, self.status(Origin="https://evil.example"))

    def test_bodies(self) -> None:
        """Where a model works, bodies must say that they are JSON, which takes a page the server's leave."""
        self.make_rank()
        for path, body in (
            ("/v1/completions", b'{"prompt":"x","max_tokens":1}'),
            ("/tokenize", b'{"prompt":"x"}'),
            ("/v1/load_lora_adapter", b'{"lora_name":"a","lora_path":"b"}'),
            ("/adapters", b'{"name":"a","src":"b"}'),
        ):
            for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
                self.assertEqual(400, self.connect().send("POST", path, body, Content_Type=kind).status, path)
            self.assertEqual(400, self.connect().send("POST", path, body).status, path)

    def test_first(self) -> None:
        """A page is refused before a key is asked for, so that none is tried from a browser."""
        self.make_rank("--admin-api-key", KEY)
        headers = {"Origin": "http://evil.example", "Authorization": "Bearer wrong"}
        self.assertEqual(403, self.status(**headers))


class GuardTests(RankTestCase):
    """The administrator's key."""

    def test_open(self) -> None:
        """Without a key everybody may."""
        self.make_rank()
        self.assertEqual(200, self.get("/admin/config").status)

    def test_key(self) -> None:
        """With a key every route for administrators needs it, and says so; no other does."""
        self.make_rank("--admin-api-key", KEY)
        for method, path in (
            ("GET", "/admin/config"),
            ("POST", "/admin/config"),
            ("POST", "/admin/config/undo"),
            ("GET", "/admin/config/history"),
        ):
            for said in (
                "",
                "Bearer ",
                "Bearer wrong",
                f"Basic {KEY}",
                KEY,
                f"Bearer{KEY}",
                f"Bearer {KEY}x",
                "Bearer \xff",
            ):
                headers = {"Authorization": said} if said else {}
                exchange = self.connect().send(method, path, b"{}", **headers)
                self.assertEqual((401, "Bearer"), (exchange.status, exchange.headers["www-authenticate"]))
                error = exchange.json()["error"]
                self.assertEqual(("AuthenticationError", 401), (error["type"], error["code"]))
                self.assertNotIn(KEY, exchange.body.decode())
            exchange = self.connect().send(method, path, b"{}", Authorization=f"bearer  {KEY}")
            self.assertEqual(409 if path.endswith("undo") else 200, exchange.status)
        for path in ("/health", "/v1/models", "/openapi.json", "/docs", "/metrics"):
            self.assertEqual(200, self.get(path).status)

    def test_constant(self) -> None:
        """Whatever is said is compared with the key as digests of one length: the time tells nothing."""
        compared: list[tuple[int, int]] = []

        def compare(a: bytes, b: bytes) -> bool:
            compared.append((len(a), len(b)))
            return compare_digest(a, b)

        self.patch(guarding, "compare_digest", compare)
        self.make_rank("--admin-api-key", "admin")
        for key in ("admin", "a", "x" * 1000):
            self.get("/admin/config", Authorization=f"Bearer {key}")
        self.assertEqual([(32, 32)] * 3, compared)

    def test_all(self) -> None:
        """No route for administrators is without a guard, and none of them is at the ranks' port beside their own."""
        self.make_rank("--admin-api-key", KEY)
        own = [(path, methods) for path, methods in self.rank.resource.paths() if path.startswith(("/admin", "/fake_"))]
        self.assertGreater(len(own), 5)
        for path, methods in own:
            for method in methods:
                self.assertEqual(401, self.connect().send(method, path, b"{}").status, path)
        self.make_rank("--admin-api-key", KEY, "--admin-endpoint", "9001")
        self.assertEqual([], [path for path, _ in own if self.get(path).status != 404])
        assert self.rank.admin is not None
        for path, _ in own:
            self.exchanges.append(Exchange(self.rank.admin))
            self.assertIn(self.exchanges[-1].send("GET", path).status, {401, 405}, path)

    def test_wrong_method(self) -> None:
        """A method that a route has not is refused with or without the key: it tells nothing."""
        self.make_rank("--admin-api-key", KEY)
        self.assertEqual(405, self.connect().send("DELETE", "/admin/config").status)

    def test_described(self) -> None:
        """The document says which routes need the key, and what they answer without."""
        for words, security in (((), None), (("--admin-api-key", KEY), [{"administrator": []}])):
            self.make_rank(*words)
            document = self.get("/openapi.json").json()
            operation = document["paths"]["/admin/config"]["post"]
            self.assertEqual((security, bool(security)), (operation.get("security"), "401" in operation["responses"]))
            self.assertNotIn("security", document["paths"]["/health"]["get"])
            self.assertEqual(bool(security), "securitySchemes" in document["components"])
