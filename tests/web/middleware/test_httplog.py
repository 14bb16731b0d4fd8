"""The log of whole exchanges."""

import json
from typing import Any

from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.harness import RankTestCase
from vllmsim.interfaces import IMiddleware
from vllmsim.web.middleware.httplog import HttpLog
from vllmsim.web.middleware.masking import Masking

MESSAGES = [{"role": "user", "content": "hello"}]


class HttpLogTests(RankTestCase):
    """What is logged."""

    def make(self, *words: str) -> None:
        """Make a rank, and listen to its log."""
        self.events: list[LogEvent] = []

        @implementer(ILogObserver)
        class Observer:
            def __call__(_, event: LogEvent) -> None:
                if event["log_namespace"].startswith("vllmsim.web.middleware.httplog"):
                    self.events.append(event)

        observer = Observer()
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.make_rank("--log-http", *words)

    def pair(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Take the two entries of an exchange."""
        asked, answered = self.events
        self.events.clear()
        self.assertEqual(asked["exchange"], answered["exchange"])
        return asked, answered

    def everything(self) -> str:
        """Write all events, with their fields."""
        told = "".join(formatEvent(event) + repr(event) for event in self.events)
        self.events.clear()
        return told

    def test_provides(self) -> None:
        """It is a middleware."""
        self.make()
        self.assertTrue(verifyObject(IMiddleware, HttpLog(self.clock, 0, Masking([], ()))))

    def test_exchange(self) -> None:
        """A request is logged when it has come, and its answer when it is over, as text and in fields."""
        self.make()
        self.events.clear()
        exchange = self.post("/v1/chat/completions?a=1", {"messages": MESSAGES, "max_tokens": 1}, X_One="two")
        asked, answered = self.pair()
        number = asked["exchange"]
        body = json.dumps({"messages": MESSAGES, "max_tokens": 1})
        lines = formatEvent(asked).split("\n")
        self.assertEqual(f"HTTP request {number}: POST /v1/chat/completions?a=1 from 192.168.1.1:54321", lines[0])
        self.assertEqual((asked["summary"], "x-one: two", "", body), (lines[0], *lines[-3:]))
        fields = ("method", "uri", "remote", "body", "body_bytes", "rank")
        expected = ("POST", "/v1/chat/completions?a=1", "192.168.1.1:54321", body, len(body), 0)
        self.assertEqual(expected, tuple(asked[name] for name in fields))
        self.assertEqual("two", asked["headers"]["x-one"])
        self.assertEqual((200, exchange.body.decode()), (answered["status"], answered["body"]))
        self.assertEqual("application/json", answered["headers"]["content-type"])
        first = f"HTTP response {number}: 200 to POST /v1/chat/completions?a=1 after 0.000000 s"
        self.assertEqual(first, formatEvent(answered).split("\n")[0])

    def test_stream(self) -> None:
        """The body of a stream is left out, and the entry comes at its end."""
        self.make("--time-to-first-token", "2s")
        self.chat(stream=True, max_tokens=2)
        self.assertEqual(1, len(self.events))
        self.clock.advance(2)
        _, answered = self.pair()
        self.assertEqual("<streamed response body not logged>", answered["body"])
        self.assertEqual(
            ("text/event-stream; charset=utf-8", 2.0), (answered["headers"]["content-type"], answered["duration"])
        )
        self.assertTrue(formatEvent(answered).endswith("\n\n<streamed response body not logged>"))

    def test_gone(self) -> None:
        """A client that has left before it was answered is said to have done so."""
        self.make("--time-to-first-token", "2s")
        self.chat(max_tokens=1).drop()
        self.clock.advance(0)
        _, answered = self.pair()
        self.assertEqual((0, {}, ""), (answered["status"], answered["headers"], answered["body"]))
        self.assertIn("none, since the client has left, to POST", formatEvent(answered))

    def test_refused(self) -> None:
        """What another middleware refuses, or nobody knows, is logged too."""
        self.make("--api-key", "the-secret")
        self.assertEqual(401, self.chat().status)
        self.assertEqual(401, self.pair()[1]["status"])
        self.assertEqual(404, self.get("/nowhere").status)
        asked, answered = self.pair()
        self.assertEqual(("", '{"detail":"Not Found"}'), (asked["body"], answered["body"]))

    def test_headers(self) -> None:
        """A header that is there several times has a list in the fields."""
        self.make()
        self.connect().send_bytes(b"GET /version HTTP/1.1\r\nHost: a\r\nX: 1\r\nx: 2\r\n\r\n")
        self.assertEqual({"host": "a", "x": ["1", "2"]}, self.pair()[0]["headers"])

    def test_large(self) -> None:
        """Bodies are cut at half a mebibyte, and their size is told."""
        self.make()
        body = json.dumps({"prompt": "x" * 600_000, "max_tokens": 1}).encode()
        self.post("/v1/completions", body)
        asked, _ = self.pair()
        suffix = f" ... [truncated, total {len(body)} bytes]"
        self.assertEqual((524_288 + len(suffix), len(body)), (len(asked["body"]), asked["body_bytes"]))
        self.assertTrue(formatEvent(asked).endswith(suffix))

    def test_forged(self) -> None:
        """What a client sends cannot look like lines of the log."""
        self.make()
        self.post("/v1/completions?x=%0a", b'{\n2026 [a#info] HTTP request 1: \x1b[31m\xe2\x80\xa8"}', X_One="a\tb\x85")
        asked, _ = self.pair()
        lines = formatEvent(asked).split("\n")
        self.assertEqual(len(asked["headers"]) + 3, len(lines))
        self.assertTrue(all(line.isprintable() for line in lines), lines)
        self.assertIn('x-one: "a\\tb\\u00c2\\u0085"', lines)

    def test_secrets(self) -> None:
        """Keys and tokens are nowhere: not in headers, targets and bodies, whoever sends them, and in no answer."""
        self.make("--api-key", "client-key", "--admin-api-key", "admin-key", "--hf-token", "hf_secret")
        bearer = {"Authorization": "Bearer client-key", "Cookie": "a=crumb", "X_Api_Key": "client-key"}
        for path in ("/v1/models?api_key=client-key", "/v1/models?other=admin-key", "/client-key"):
            self.get(path, **bearer)
        self.post("/v1/completions", {"prompt": "echo client-key", "max_tokens": 1}, **bearer)
        self.post("/v1/completions", {"prompt": "x"}, Authorization="Bearer wrong-key")
        admin = {"Authorization": "Bearer admin-key"}
        self.post("/admin/config", {"api-key": ["new-secret"], "hf_token": "hf_other"}, **admin)
        self.post("/admin/config", b'{"api-key": ["new-secret"', **admin)
        self.get("/admin/config", **admin)
        told = self.everything()
        for secret in ("client-key", "admin-key", "hf_secret", "hf_other", "new-secret", "wrong-key", "crumb"):
            self.assertNotIn(secret, told)
        self.assertIn("Bearer ***", told)

    def test_live(self) -> None:
        """It begins and ends while the server runs; a request that began with it is logged to its end."""
        self.make("--time-to-first-token", "2s")
        waiting = self.chat(max_tokens=1)
        self.post("/admin/config", {"log-http": False})
        self.events.clear()
        self.get("/version")
        self.assertEqual([], self.events)
        self.clock.pump([2, 0])
        self.assertTrue(waiting.complete)
        self.assertEqual([200], [event["status"] for event in self.events])
        self.post("/admin/config", {"log-http": True})
        self.events.clear()
        self.get("/version")
        self.assertEqual(2, len(self.events))
