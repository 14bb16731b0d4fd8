"""The HTTP server of a rank."""

from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from tests.fakes import RecordingMetrics, Routeless
from tests.harness import Exchange
from vllmsim.web.request import Request
from vllmsim.web.site import Limits, Site

LIMITS = Limits(head_bytes=2000, headers=20, body_bytes=100, keep_alive=5)


class Echo(Routeless):
    """Answers with the request's body, or does what its path says."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Request] = []

    def render(self, request: Request) -> int:
        """Answer."""
        self.requests.append(request)
        request.route = "/echo"
        if request.path == b"/raise":
            raise RuntimeError("broken")
        if request.path == b"/late":
            request.write(b"some")
            raise RuntimeError("broken late")
        if request.path == b"/wait":
            return NOT_DONE_YET
        request.answer(200, request.content.read(), b"text/plain")
        request.finish()
        return NOT_DONE_YET


class SiteTests(SynchronousTestCase):
    """Connections, limits and errors."""

    def setUp(self) -> None:
        """Serve an echo of up to 100 bytes."""
        self.clock = Clock()
        self.metrics = RecordingMetrics()
        self.resource = Echo()
        self.site = Site(self.resource, self.clock, self.metrics, LIMITS)

    def send(self, method: str = "POST", path: str = "/echo", body: bytes = b"", **headers: str) -> Exchange:
        """Send a request."""
        return Exchange(self.site).send(method, path, body, **headers)

    def test_answer(self) -> None:
        """An answer has its length and type, and the headers that vLLM's server sends."""
        exchange = self.send(body=b"hello")
        self.assertEqual((200, b"hello", True), (exchange.status, exchange.body, exchange.complete))
        headers = exchange.headers
        self.assertEqual(("uvicorn", "5", "text/plain"), tuple(
            headers[name] for name in ("server", "content-length", "content-type")))  # fmt: skip
        self.assertIn("date", headers)
        self.assertFalse({"x-request-id", "vary"} & set(headers))

    def test_body_too_large(self) -> None:
        """A body above the limit is thrown away as it comes, and no route can read it; the connection goes on."""
        exchange = self.send(body=b"x" * 101)
        self.assertEqual(413, exchange.status)
        self.assertIn("larger than 100 bytes", exchange.json()["error"]["message"])
        exchange.transport.clear()
        self.assertEqual(b"y", exchange.send("POST", "/echo", b"y").body)
        self.assertEqual(b"x" * 100, self.send(body=b"x" * 100).body)

    def test_chunked_body_too_large(self) -> None:
        """A body whose length is not told is counted as it comes."""
        head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        exchange = Exchange(self.site).send_bytes(head + b"64\r\n" + b"x" * 100 + b"\r\n")
        self.assertEqual(0, exchange.status)
        exchange.send_bytes(b"1\r\nx\r\n0\r\n\r\n")
        self.assertEqual(413, exchange.status)

    def test_endless_body(self) -> None:
        """A body far above the limit is not read to its end: the client is told, and cut off."""
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
        exchange = Exchange(self.site).send_bytes(head + b"x" * 1600)
        self.assertEqual(0, exchange.status)
        exchange.send_bytes(b"x").send_bytes(b"x" * 100)
        self.assertEqual((413, True), (exchange.status, exchange.complete))
        self.assertTrue(exchange.transport.disconnecting)
        exchange.drop()
        self.assertEqual([("none", "POST", 413, 0, 1000000, 124)], self.metrics.heard)

    def test_endless_body_that_ends(self) -> None:
        """A body that goes too far and ends in the same read is answered once, and by no route."""
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1700\r\n\r\n"
        exchange = Exchange(self.site).send_bytes(head + b"x" * 1700)
        self.assertEqual((413, True), (exchange.status, exchange.complete))
        self.assertEqual([], self.resource.requests)
        self.assertEqual(1, len(self.metrics.heard))

    def test_asking_before_a_body_too_large(self) -> None:
        """A client that asks before it sends too much is told no, and not to go on."""
        exchange = Exchange(self.site).send("POST", "/", None, Content_Length="101", Expect="100-continue")
        self.assertEqual((413, True), (exchange.status, exchange.complete))
        self.assertTrue(exchange.transport.disconnecting)
        exchange = Exchange(self.site).send("POST", "/", None, Content_Length="100", Expect="100-continue")
        self.assertEqual(100, exchange.status)

    def test_large_head(self) -> None:
        """A head beyond the limits, and bytes that are no request, are refused in words."""
        for line in (b"GET / HTTP/1.1\r\nX: " + b"x" * 1900, b"nonsense", b"GET / HTTP/1.1\r\n: x"):
            exchange = Exchange(self.site).send_bytes(line + b"\r\n\r\n")
            many = Exchange(self.site).send("GET", "/", None, **{f"X{i}": "1" for i in range(20)})
            long = Exchange(self.site).send_bytes(b"GET /" + b"x" * 2001)
            for each in (exchange, many, long) if b"X: " not in line else (many, long):
                self.assertEqual(400, each.status)
                self.assertEqual((b"Invalid HTTP request received.", True), (each.body, each.complete))
                self.assertTrue(each.transport.disconnecting)
            if b"X: " in line:
                self.assertEqual(200, exchange.status)

    def test_keep_alive(self) -> None:
        """A connection may be idle for long before its first request and within one, but not after a response."""
        exchange = Exchange(self.site)
        self.clock.advance(50)
        exchange.send_bytes(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n")
        self.clock.advance(50)
        exchange.send_bytes(b"ab")
        self.assertEqual(200, exchange.status)
        self.clock.advance(4)
        self.assertFalse(exchange.transport.disconnecting)
        exchange.send_bytes(b"GET /wait HTTP/1.1\r\n")
        self.clock.advance(50)
        exchange.send_bytes(b"\r\n")
        self.clock.advance(1000)
        self.assertFalse(exchange.transport.disconnecting)
        self.resource.requests[-1].finish()
        self.clock.advance(5)
        self.assertTrue(exchange.transport.disconnecting)

    def test_errors_of_ours(self) -> None:
        """An error that no route caught is logged, and answered in JSON without details."""
        exchange = self.send(path="/raise")
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))
        self.assertEqual((500, "Internal server error"), (exchange.status, exchange.json()["error"]["message"]))

    def test_errors_of_ours_in_mid_answer(self) -> None:
        """An error after the answer has begun is logged, and the answer is cut off, not completed."""
        exchange = self.send(path="/late")
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))
        self.assertTrue(exchange.transport.disconnected)
        self.assertNotIn(b"0\r\n\r\n", exchange.raw)

    def test_metrics(self) -> None:
        """Each exchange is counted once, with its route, sizes and time."""
        self.send(body=b"hello")
        exchange = self.send("REPORT", "/wait")
        self.clock.advance(2)
        exchange.drop()
        self.assertEqual([("/echo", "POST", 200, 0, 5, 5), ("/echo", "other", 200, 2, 0, 0)], self.metrics.heard)
        [*_, request] = self.resource.requests
        self.assertRaises(RuntimeError, request.finish)
        self.assertEqual(2, len(self.metrics.heard))

    def test_dropped_before_a_request(self) -> None:
        """A connection that sends half a request is not counted."""
        Exchange(self.site).send_bytes(b"GET / HT").drop()
        Exchange(self.site).send_bytes(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nxx").drop()
        self.assertEqual([], self.metrics.heard)

    def test_closing(self) -> None:
        """The site closes idle connections, waits for busy ones, and can do without these."""
        self.successResultOf(Site(self.resource, self.clock, self.metrics, LIMITS).close())
        exchange = self.send(path="/wait")
        idle = self.send()
        closed = self.site.close()
        self.assertTrue(idle.transport.disconnecting)
        idle.drop()
        self.assertNoResult(closed)
        self.site.dismiss()
        self.assertTrue(exchange.transport.disconnected)
        exchange.drop()
        self.successResultOf(closed)
        self.assertEqual(set(), self.site.channels)

    def test_closing_behind_a_request(self) -> None:
        """While the site closes, a request that is coming in or being served is the last of its connection."""
        coming = Exchange(self.site).send_bytes(b"GET /echo HTTP/1.1\r\n")
        served = self.send(path="/wait")
        self.site.close()
        coming.send_bytes(b"\r\n")
        self.resource.requests[0].finish()
        for exchange in (coming, served):
            self.assertEqual(200, exchange.status)
            self.assertTrue(exchange.transport.disconnecting)

    def test_no_access_log(self) -> None:
        """Requests and idle connections write no log lines; TLS clients are offered HTTP/1.1."""
        events: list[Any] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            events.append(event)

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        self.send()
        self.clock.advance(5)
        self.assertEqual([], events)
        self.assertEqual([b"http/1.1"], self.site.acceptableProtocols())

    def test_lost_while_waiting(self) -> None:
        """A route that waits hears that the client is gone."""
        exchange = self.send(path="/wait")
        [request] = self.resource.requests
        gone = request.notifyFinish()
        exchange.protocol.connectionLost(Failure(ConnectionLost()))
        self.failureResultOf(gone, ConnectionLost)
