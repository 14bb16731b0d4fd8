"""The pages that explain the routes."""

import base64
import hashlib
import json
import re

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import RecordingMetrics
from tests.harness import Exchange, RankTestCase
from tests.web.test_site import LIMITS
from vllmsim.assembly.once import Once
from vllmsim.web.documentation import DocumentationRoutes, page
from vllmsim.web.root import RankResource
from vllmsim.web.site import Site

PATHS = ("/openapi.json", "/docs", "/redoc", "/docs/oauth2-redirect")


class DocumentationTests(RankTestCase):
    """What a rank says of its routes."""

    def test_document(self) -> None:
        """The document has every route of the server, and names the served model in examples."""
        self.make_rank("--served-model-name", "mine")
        exchange = self.get("/openapi.json")
        self.assertEqual((200, "application/json"), (exchange.status, exchange.headers["content-type"]))
        document = exchange.json()
        methods = [(path, sorted(name.upper() for name in each)) for path, each in document["paths"].items()]
        self.assertEqual(self.rank.resource.paths(), sorted(methods))
        self.assertEqual("vLLM 0.33.0, simulated", document["info"]["title"])
        names = document["components"]["schemas"]
        self.assertEqual([], [name for name in names if not re.fullmatch("([A-Z][a-z]*)+", name)])

    def test_root_path(self) -> None:
        """Behind a proxy the document says where the server is."""
        self.make_rank()
        self.assertNotIn("servers", self.get("/openapi.json").json())
        self.make_rank("--root-path", "/pfx")
        self.assertEqual([{"url": "/pfx"}], self.get("/pfx/openapi.json").json()["servers"])

    def test_pages(self) -> None:
        """Each page is HTML, also to HEAD, which gets no body; other methods are refused."""
        self.make_rank()
        for path in PATHS:
            got, head = self.get(path), self.connect().send("HEAD", path)
            self.assertEqual((200, 200, b""), (got.status, head.status, head.body))
            self.assertEqual(got.headers["content-length"], head.headers["content-length"])
            self.assertEqual(len(got.body), int(got.headers["content-length"]))
            if path != "/openapi.json":
                self.assertEqual("text/html; charset=utf-8", got.headers["content-type"])
                self.assertTrue(got.body.startswith(b"<!DOCTYPE html>"))
            refused = self.post(path, {})
            self.assertEqual((405, "GET, HEAD"), (refused.status, refused.headers["allow"]))

    def test_disabled(self) -> None:
        """Where documentation is disabled, none of its paths exists."""
        self.make_rank("--disable-fastapi-docs")
        self.assertEqual([404] * 4, [self.get(path).status for path in PATHS])

    def test_policy(self) -> None:
        """The page's policy allows its own script, its own style and calls to its own server, and no other source."""
        self.make_rank()
        exchange = self.get("/docs")
        policy = exchange.headers["content-security-policy"]
        self.assertIn("default-src 'none'", policy)
        self.assertIn("connect-src 'self'", policy)
        for name in ("script", "style"):
            content = re.findall(rb"<%b>(.*?)</%b>" % (name.encode(), name.encode()), exchange.body, re.DOTALL)
            self.assertEqual(1, len(content))
            digest = base64.b64encode(hashlib.sha256(content[0]).digest()).decode()
            self.assertIn(f"{name}-src 'sha256-{digest}'", policy)

    def test_self_contained(self) -> None:
        """The page loads nothing: no address of another server, no file beside it, no code in attributes."""
        text = page()[0].decode()
        self.assertEqual([], re.findall(r"(?:https?:)?//[a-z]+\.", text))
        self.assertEqual([], re.findall(r"<(?:script|link|img|iframe)[^>]*\ssrc=", text))
        self.assertEqual(['href="data:,"'], re.findall(r"<link[^>]*(href=[^>]*)>", text))
        self.assertEqual([], re.findall(r"<[^>]*\s(?:on\w+|style)=", text))
        self.assertNotIn("innerHTML", text)


class LazyTests(SynchronousTestCase):
    """When the document is written."""

    def test_once(self) -> None:
        """The document is written when it is first asked for, off the reactor, once for all who wait for it."""
        jobs: list[Deferred[bytes]] = []

        def in_thread(_write: object) -> Deferred[bytes]:
            jobs.append(Deferred())
            return jobs[-1]

        routes = DocumentationRoutes(Once(in_thread, lambda: b"{}"))
        site = Site(RankResource([routes.app]), Clock(), RecordingMetrics(), LIMITS)
        # More than may be within each other.
        exchanges = [Exchange(site).send("GET", "/openapi.json") for _ in range(1000)]
        self.assertEqual(1, len(jobs))
        self.assertEqual({b""}, {exchange.raw for exchange in exchanges})
        jobs[0].callback(b'{"a":1}')
        self.assertEqual([{"a": 1}] * 1000, [json.loads(exchange.body) for exchange in exchanges])
        Exchange(site).send("GET", "/openapi.json")
        self.assertEqual(1, len(jobs))
