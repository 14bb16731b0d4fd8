"""How routes fail."""

import gc
import json
import tracemalloc
from collections.abc import Callable

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import NOT_DONE_YET

from tests.fakes import RecordingMetrics, Routeless
from tests.harness import Exchange, RankTestCase
from vllmsim.errors import QueueFull
from vllmsim.web.request import Request
from vllmsim.web.root import RankResource
from vllmsim.web.site import Limits, Site


class Routes:
    """Routes that fail."""

    app = Klein()

    @app.route("/full", methods=["GET"])
    def full(self, request: Request) -> None:
        """Fail as a queue does."""
        raise QueueFull("Full.")

    @app.route("/own", methods=["GET"])
    def own(self, request: Request) -> None:
        """Fail in a shape of its own, one way or the other."""
        request.dialect = "anthropic"
        raise (QueueFull("Full.") if request.args else KeyError("secret"))

    @app.route("/broken", methods=["GET"])
    def broken(self, request: Request) -> None:
        """Fail for no reason."""
        raise KeyError("secret")

    @app.route("/full-late", methods=["GET"])
    def full_late(self, request: Request) -> None:
        """Fail as a queue does, after the answer has begun."""
        request.write(b"some")
        raise QueueFull("Full.")

    @app.route("/broken-late", methods=["GET"])
    def broken_late(self, request: Request) -> None:
        """Fail for no reason, after the answer has begun."""
        request.write(b"some")
        raise KeyError("secret")


class FailingTests(SynchronousTestCase):
    """Errors become bodies."""

    def get(self, path: str) -> Exchange:
        """Send a request."""
        site = Site(RankResource([Routes().app]), Clock(), RecordingMetrics(), Limits(1000, 10, 100, 5))
        return Exchange(site).send("GET", path)

    def test_ours(self) -> None:
        """An error of the tree has its own status and text."""
        exchange = self.get("/full")
        self.assertEqual((429, "Full."), (exchange.status, exchange.json()["error"]["message"]))

    def test_own_shape(self) -> None:
        """A route that is for other clients has all its errors told as these know them."""
        for path, status, kind in (("/own?x=1", 429, "rate_limit_error"), ("/own", 500, "api_error")):
            exchange = self.get(path)
            self.assertEqual((status, kind), (exchange.status, exchange.json()["error"]["type"]))
        self.assertEqual(1, len(self.flushLoggedErrors(KeyError)))

    def test_any(self) -> None:
        """Any other error is logged, and the client learns nothing of it."""
        exchange = self.get("/broken")
        self.assertEqual(1, len(self.flushLoggedErrors(KeyError)))
        self.assertEqual(500, exchange.status)
        self.assertNotIn("secret", json.dumps(exchange.json()))

    def test_late(self) -> None:
        """An answer that has begun is cut off: nothing is written behind it that could pass for its end."""
        for path, count in (("/full-late", 0), ("/broken-late", 1)):
            exchange = self.get(path)
            self.assertEqual(count, len(self.flushLoggedErrors(KeyError)))
            self.assertTrue(exchange.transport.disconnected)
            self.assertTrue(exchange.raw.endswith(b"4\r\nsome\r\n"), exchange.raw)


class Writing(Routeless):
    """Writes two pieces and a last one, which are in the path."""

    def render(self, request: Request) -> int:
        """Answer."""
        first, second, last = request.path[1:].split(b"/")
        if request.args:
            request.length = int(request.args[b"length"][0])
        request.write(first)
        request.piece_writer()(second)
        request.write_last(last)
        request.finish()
        return NOT_DONE_YET


class WritingTests(SynchronousTestCase):
    """Bodies in pieces."""

    def ask(self, line: str) -> bytes:
        """Send a request, and list what comes after the head."""
        site = Site(Writing(), Clock(), RecordingMetrics(), Limits(1000, 10, 100, 5))
        return Exchange(site).send_bytes(f"{line}\r\nHost: x\r\n\r\n".encode()).raw.partition(b"\r\n\r\n")[2]

    def test_chunks(self) -> None:
        """While the length is not known, each piece is a chunk, an empty one is none, and there is one end."""
        self.assertEqual(b"1\r\na\r\n2\r\nbc\r\n1\r\nd\r\n0\r\n\r\n", self.ask("GET /a/bc/d HTTP/1.1"))
        self.assertEqual(b"1\r\nd\r\n0\r\n\r\n", self.ask("GET ///d HTTP/1.1"))
        self.assertEqual(b"0\r\n\r\n", self.ask("GET /// HTTP/1.1"))

    def test_plain(self) -> None:
        """With a length, and for clients of HTTP/1.0, pieces are written as they are."""
        self.assertEqual(b"abcd", self.ask("GET /a/bc/d?length=4 HTTP/1.1"))
        self.assertEqual(b"abcd", self.ask("GET /a/bc/d HTTP/1.0"))

    def test_head(self) -> None:
        """A request for the head alone gets no body, however it is written."""
        self.assertEqual(b"", self.ask("HEAD /a/bc/d HTTP/1.1"))
        self.assertEqual(b"", self.ask("HEAD /a/bc/d?length=4 HTTP/1.1"))

    def test_gone(self) -> None:
        """A route that fails after its client has left is logged, unless it was cancelled."""
        for cancel, count in ((lambda d: d.errback(KeyError()), 1), (None, 0), (lambda d: d.callback(None), 0)):
            site = Site(Later(cancel), Clock(), RecordingMetrics(), Limits(1000, 10, 100, 5))
            exchange = Exchange(site).send("GET", "/")
            exchange.drop()
            self.assertEqual((count, b""), (len(self.flushLoggedErrors(KeyError)), exchange.raw))


class Later(Routeless):
    """Answers never.

    :param cancel: what happens when it is cancelled.
    """

    def __init__(self, cancel: Callable[[Deferred[None]], None] | None) -> None:
        super().__init__()
        self._cancel = cancel

    def render(self, request: Request) -> Deferred[None]:
        """Wait."""
        return Deferred(self._cancel)


class ForgettingTests(RankTestCase):
    """What is left of a request that was refused."""

    def test_refused(self) -> None:
        """A body that is refused is forgotten at once, wherever it is, without the collector of garbage."""
        self.make_rank(threads=lambda *call: deferLater(self.clock, 0, *call))
        items, text = json.dumps(["word"] * 60_000), "a " * 200_000
        talk = '{"messages": [{"role": "user", "content": "a"}], "metadata": {"a": "%s"}, %s}'
        refused = [
            ("/rerank", f'{{"query": "a", "documents": {items}}}'),
            ("/v1/messages", f'{{"model": "m", "max_tokens": 1, "messages": {items}}}'),
            ("/v1/completions", f'{{"prompt": "{text}", "max_tokens": "x"}}'),
            ("/v1/completions", f'{{"prompt": "{text}", "max_tokens": {"9" * 30}}}'),
            ("/v1/completions", f'{{"prompt": "{text}"'),
            ("/v1/completions", f'{{"prompt": "{text}"}}'),
            ("/v1/embeddings", f'{{"input": "{text}"}}'),
            ("/v1/chat/completions", talk % (text, '"max_tokens": 99999')),
            ("/v1/chat/completions", talk % (text, '"model": "none"')),
            ("/v1/chat/completions", talk % (text, '"stream": true, "structured_outputs": {"regex": "["}')),
        ]
        for path, body in refused:
            self.assertIn(self.refuse(path, body), {400, 404})
            kept = self.kept(path, body)
            self.assertLess(kept, len(body) // 4, f"{path} {body[:30]}...{body[-60:]}")

    def refuse(self, path: str, body: str) -> int:
        """Send a body and go."""
        exchange = self.post(path, body.encode())
        self.clock.pump([0] * 5)
        exchange.drop()
        self.exchanges.clear()
        return exchange.status

    def kept(self, path: str, body: str) -> int:
        """Measure how many bytes are taken by a request that is over."""
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before, _ = tracemalloc.get_traced_memory()
        self.refuse(path, body)
        after, _ = tracemalloc.get_traced_memory()
        return after - before
