"""API keys, as vLLM asks for them."""

from hmac import compare_digest
from typing import cast

from twisted.logger import ILogObserver, globalLogPublisher

from tests.harness import Exchange, RankTestCase
from vllmsim.web.middleware import apikeys

KEYS = ("--api-key", "sk-one", "sk-two")
BEARER = "Bearer sk-one"


class ApiKeyTests(RankTestCase):
    """Who may use a server."""

    def raw(self, head: bytes) -> Exchange:
        """Send a head as it is, with nothing behind it."""
        return self.connect().send_bytes(head + b"\r\n\r\n")

    def models(self, *said: bytes) -> int:
        """Ask for the models with some headers that say who asks."""
        lines = b"".join(b"\r\nAuthorization: %b" % each for each in said)
        return self.raw(b"GET /v1/models HTTP/1.1\r\nHost: x" + lines).status

    def test_none(self) -> None:
        """Where there are no keys anybody may come, with whatever key."""
        self.make_rank()
        self.assertEqual((200, 200), (self.models(), self.models(b"Bearer x")))

    def test_keys(self) -> None:
        """Any of the keys will do, behind one blank; the scheme may be written in any case."""
        self.make_rank(*KEYS)
        for said in ("Bearer sk-one", "Bearer sk-two", "bearer sk-one", "BEARER sk-two"):
            self.assertEqual(200, self.models(said.encode()), said)
        for said in ("", "Bearer", "Bearer ", "Bearer sk-thre", "Bearer sk-one x", "Bearer  sk-one", "Basic sk-one",
                     "sk-one", "Bearer SK-ONE", "Bearer sk-one,sk-two"):  # fmt: skip
            self.assertEqual(401, self.models(said.encode()), said)
        self.assertEqual(401, self.models())

    def test_refusal(self) -> None:
        """Who has no key is told so in vLLM's words: no error object, no other dialect, and no ``vary``."""
        self.make_rank(*KEYS, "--enable-request-id-headers")
        for exchange in (
            self.get("/v1/models", X_Request_Id="mine", Origin="http://page.test"),
            self.post("/v1/messages", {}, X_Request_Id="mine", x_api_key="sk-one"),
            self.post("/v1/nope", {}, X_Request_Id="mine"),
            self.connect().send("DELETE", "/v1/models", None, X_Request_Id="mine"),
        ):
            self.assertEqual((401, b'{"error":"Unauthorized"}'), (exchange.status, exchange.body))
            headers = exchange.headers
            self.assertEqual(("mine", "application/json"), (headers["x-request-id"], headers["content-type"]))
            self.assertEqual(set(), {"vary", "www-authenticate", "allow"} & headers.keys())
            self.assertEqual([], [name for name in headers if name.startswith("access-control")])
        metrics = self.get("/metrics").body
        self.assertNotIn(b"4xx", metrics)

    def test_paths(self) -> None:
        """Only what begins with the four prefixes is guarded, whether it is there or not, however it is spelled."""
        self.make_rank(*KEYS)
        for path in ("/v1/models", "/v1", "/v1x", "/v2/embed", "/inference/v1/generate", "/cohere/v2/chat",
                     "/%76%31/models", "/v1/models/"):  # fmt: skip
            self.assertEqual(401, self.get(path).status, path)
        for path in ("/health", "/metrics", "/version", "/load", "/is_sleeping", "/admin/config", "/openapi.json"):
            self.assertEqual(200, self.get(path).status, path)
        for path in ("/tokenize", "/invocations", "/score", "/rerank", "/pooling", "/classify"):
            self.assertEqual(400, self.post(path, {}).status, path)
        self.assertEqual(404, self.get("/nope").status)

    def test_options(self) -> None:
        """OPTIONS needs no key anywhere."""
        self.make_rank(*KEYS, "--allowed-origins", '["*"]')
        ask = {"Origin": "http://page.test", "Access_Control_Request_Method": "POST"}
        self.assertEqual(200, self.connect().send("OPTIONS", "/v1/models", None, **ask).status)
        self.assertEqual(405, self.connect().send("OPTIONS", "/v1/models").status)

    def test_first_counts(self) -> None:
        """Of several headers the first counts, as in vLLM."""
        self.make_rank(*KEYS)
        self.assertEqual(200, self.models(b"Bearer sk-one", b"Bearer x"))
        self.assertEqual(401, self.models(b"Bearer x", b"Bearer sk-one"))

    def test_hostile(self) -> None:
        """Keys without end, of any bytes, and as many as a head may have, are refused as any other."""
        self.make_rank(*KEYS, "--h11-max-header-count", "5000")
        self.assertEqual(401, self.models(b"Bearer " + b"x" * 1_000_000))
        self.assertEqual(401, self.models(b"Bearer sk-one" + b"x" * 5000))
        self.assertEqual(401, self.models(b"Bearer \xff\xfe\x80"))
        self.assertEqual(401, self.models(*[b"Bearer x"] * 4000, b"Bearer sk-one"))
        self.make_rank(*KEYS)
        self.assertEqual(400, self.models(*[b"Bearer sk-one"] * 4000))

    def test_every_key(self) -> None:
        """A key is compared with all there are, whichever it is, as digests of one length: the time tells nothing."""
        compared: list[tuple[int, int]] = []

        def compare(a: bytes, b: bytes) -> bool:
            compared.append((len(a), len(b)))
            return compare_digest(a, b)

        self.patch(apikeys, "compare_digest", compare)
        self.make_rank("--api-key", "one", "second", "the-third")
        for key, status in (("one", 200), ("the-third", 200), ("o", 401), ("x" * 1000, 401)):
            del compared[:]
            self.assertEqual(status, self.get("/v1/models", Authorization=f"Bearer {key}").status)
            self.assertEqual([(32, 32)] * 3, compared, key)

    def test_latin(self) -> None:
        """A key that is not ASCII is found by its Latin-1 bytes, as in vLLM."""
        self.make_rank("--api-key", "schlüssel")
        self.assertEqual(200, self.models("Bearer schlüssel".encode("latin-1")))
        self.assertEqual(401, self.models("Bearer schlüssel".encode()))

    def test_root_path(self) -> None:
        """A proxy's path is taken away before a path is looked at, and need not be there."""
        self.make_rank(*KEYS, "--root-path", "/pfx/")
        for path in ("/pfx/v1/models", "/v1/models"):
            self.assertEqual(401, self.get(path).status, path)
            self.assertEqual(200, self.get(path, Authorization=BEARER).status, path)
        self.assertEqual(200, self.get("/pfx/health").status)
        for path in ("/pfx", "/pfxv1/models", "/pfx/pfx/v1/models", "/other/v1/models"):
            self.assertEqual(404, self.get(path).status, path)
        redirected = self.get("/pfx/health/?x=1")
        self.assertEqual((307, "http://example.test/pfx/health?x=1"), (
            redirected.status, redirected.headers["location"]))  # fmt: skip

    def test_body_not_wanted(self) -> None:
        """Who has no key and asks before sending a body is refused at once; who has one is asked for it."""
        self.make_rank(*KEYS)
        ask = {"Content_Length": "1000000", "Expect": "100-continue"}
        refused = self.connect().send("POST", "/v1/completions", None, **ask)
        self.assertEqual((401, True), (refused.status, refused.complete))
        self.assertEqual("close", refused.headers["connection"])
        self.assertEqual(100, self.connect().send("POST", "/v1/completions", None, Authorization=BEARER, **ask).status)
        self.assertEqual(100, self.connect().send("POST", "/tokenize", None, **ask).status)

    def test_too_large(self) -> None:
        """Who has no key learns nothing of limits."""
        self.make_rank(*KEYS, "--max-request-body-size-mb", "1")
        body = b" " * ((1 << 20) + 1)
        self.assertEqual(401, self.post("/v1/completions", body).status)
        self.assertEqual(413, self.post("/v1/completions", body, Authorization=BEARER).status)

    def test_connection(self) -> None:
        """A refusal leaves the connection as it is, and requests behind it are answered."""
        self.make_rank(*KEYS)
        exchange = self.connect().send("GET", "/v1/models").send("GET", "/v1/models", None, Authorization=BEARER)
        self.assertEqual((1, 1), (exchange.raw.count(b"401 Unauthorized"), exchange.raw.count(b"200 OK")))

    def test_journal(self) -> None:
        """The journal remembers who was refused, and shows no key."""
        self.make_rank(*KEYS)
        self.post("/v1/completions", {"prompt": "x"}, Authorization="Bearer sk-wrong")
        journal = self.get("/admin/requests")
        [told] = journal.json()["requests"]
        self.assertEqual((401, "invalid", "AuthenticationError"), (
            told["status"], told["outcome"], told["error"]["type"]))  # fmt: skip
        self.assertNotIn(b"sk-", journal.body)

    def test_live(self) -> None:
        """Keys may be changed while the server runs, and neither routes nor the log ever show one."""
        said: list[str] = []
        self.make_rank(*KEYS, "--tenants", '[{"name":"t","keys":["sk-tenant"]}]')
        observer = cast("ILogObserver", lambda event: said.append(str(dict(event))))
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        changed = self.post("/admin/config", {"api-key": ["sk-three"]})
        self.assertEqual(200, changed.status)
        self.assertEqual((401, 200), (self.models(b"Bearer sk-one"), self.models(b"Bearer sk-three")))
        wrong = self.post("/admin/config", {"api-key": ["sk-four", ""], "tenants": [{"name": "", "keys": ["sk-five"]}]})
        self.assertEqual(400, wrong.status)
        for exchange in (changed, wrong, self.get("/admin/config"), self.get("/admin/config/history"),
                         self.get("/server_info"), self.get("/server_info?config_format=json"),
                         self.post("/admin/config/undo", {})):  # fmt: skip
            self.assertNotIn(b"sk-", exchange.body)
        self.assertEqual(200, self.models(b"Bearer sk-one"))
        self.assertEqual([], [text for text in said if "sk-" in text])
        self.assertEqual(1, len([text for text in said if "api-key from" in text and "undo" not in text]))
