"""The access log."""

from typing import Any, cast

from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher

from tests.harness import RankTestCase

NAMESPACE = "vllmsim.web.middleware.accesslog.AccessLog"


class AccessLogTests(RankTestCase):
    """What is logged of requests."""

    def setUp(self) -> None:
        """Listen to the log."""
        self.events: list[LogEvent] = []
        observer = cast("ILogObserver", self.events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    @property
    def told(self) -> list[LogEvent]:
        """What was logged, and forget it."""
        told = [event for event in self.events if event["log_namespace"] == NAMESPACE]
        self.events.clear()
        return told

    def lines(self) -> list[str]:
        """What was logged, as text."""
        return [formatEvent(event) for event in self.told]

    def test_off(self) -> None:
        """There is none unless it is asked for, or where vLLM's flag says so."""
        self.make_rank()
        self.get("/health")
        self.make_rank("--access-log", "--disable-uvicorn-access-log")
        self.get("/health")
        self.assertEqual([], self.lines())

    def test_lines(self) -> None:
        """A line has the form of uvicorn's, whatever becomes of the request."""
        self.make_rank("--access-log", "--api-key", "k")
        self.get("/health?x=1")
        self.get("/v1/models")
        self.get("/nope")
        self.post("/v1/completions", {"prompt": "x", "stream": True}, Authorization="Bearer k")
        self.connect().send_bytes(b"GET /health HTTP/1.0\r\n\r\n")
        self.assertEqual(
            [
                '192.168.1.1:54321 - "GET /health?x=1 HTTP/1.1" 200 OK',
                '192.168.1.1:54321 - "GET /v1/models HTTP/1.1" 401 Unauthorized',
                '192.168.1.1:54321 - "GET /nope HTTP/1.1" 404 Not Found',
                '192.168.1.1:54321 - "POST /v1/completions HTTP/1.1" 200 OK',
                '192.168.1.1:54321 - "GET /health HTTP/1.0" 200 OK',
            ],
            self.lines(),
        )

    def test_fields(self) -> None:
        """Beside it the event has the duration, the tenant and the request's id, if there are such."""
        self.make_rank("--access-log", "--tenants", '{"acme":{"keys":["k"]}}', "--time-to-first-token", "2s")
        self.complete()
        self.post("/v1/completions", {"prompt": "x"}, Authorization="Bearer k", X_Request_Id="mine\u0100"[:4])
        self.clock.pump([0, 2, 0])
        refused, answered = self.told
        self.assertEqual((401, None, None), (refused["status"], refused["tenant"], refused["request_id"]))
        self.assertEqual((200, "acme", "mine", 2.0), (
            answered["status"], answered["tenant"], answered["request_id"], answered["duration"]))  # fmt: skip

    def test_new_id(self) -> None:
        """An id that the answer has and the request has not is told too."""
        self.make_rank("--access-log", "--enable-request-id-headers")
        exchange = self.get("/health")
        self.assertEqual(exchange.headers["x-request-id"], self.told[0]["request_id"])

    def test_client_leaves(self) -> None:
        """A client that left before there was an answer is said to have left."""
        self.make_rank("--access-log", "--time-to-first-token", "2s")
        self.complete().drop()
        self.assertEqual(['192.168.1.1:54321 - "POST /v1/completions HTTP/1.1" - client has left'], self.lines())

    def test_forgery(self) -> None:
        """What could be taken for another line, or for the end of a target, is written in hexadecimal digits."""
        self.make_rank("--access-log")
        self.connect().send_bytes(b'GET /a"b?{x}=%0a HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\x85b"\r\n\r\n')
        self.get("/" + "x" * 3000)
        first, second = self.told
        self.assertEqual('192.168.1.1:54321 - "GET /a%22b?{x}=%0a HTTP/1.1" 404 Not Found', formatEvent(first))
        self.assertEqual("a%85b%22", first["request_id"])
        self.assertIn("xxx... HTTP/1.1", formatEvent(second))
        self.assertLess(len(formatEvent(second)), 2200)

    def test_left_out(self) -> None:
        """Paths that are named are left out, whatever their query strings."""
        self.make_rank("--access-log", "--disable-access-log-for-endpoints", "/health, /ping,")
        for path in ("/health", "/health?x=1", "/ping", "/version"):
            self.get(path)
        self.assertEqual(['192.168.1.1:54321 - "GET /version HTTP/1.1" 200 OK'], self.lines())

    def test_keys_in_targets(self) -> None:
        """Nothing of the headers is in a line, and of the query nothing that is called like a secret."""
        self.make_rank("--access-log")
        self.get("/health", Authorization="Bearer hunter2")
        self.get("/health?a=1&api_key=hunter2&%61pi_key=hunter2")
        told: Any = self.told
        self.assertIn('"GET /health?a=1&api_key=***&%61pi_key=*** HTTP', formatEvent(told[1]))
        self.assertNotIn("hunter2", str([{**event, "log_logger": None, "log_source": None} for event in told]))
