"""Exchanges over HTTP/2."""

import json
from typing import Any

from twisted.internet.defer import succeed
from twisted.logger import capturedLogs, formatEvent
from twisted.web.server import NOT_DONE_YET

from tests.fakes import Routeless
from tests.harness import RankTestCase
from tests.http2client import ClientStream, Http2Client
from tests.web.test_doorway import DoorwayTestCase
from vllmsim.records import HttpFacts, RequestRecord
from vllmsim.web.http2.connection import Http2
from vllmsim.web.request import Request


class TrailersTests(DoorwayTestCase):
    """What is behind a body."""

    def setUp(self) -> None:
        """Connect."""
        super().setUp()
        self.client = Http2Client(self.site)

    def test_trailers(self) -> None:
        """Fields behind the body, or in the place of one."""
        stream = self.client.begin("GET", "/later", end=True)
        alone = self.client.begin("GET", "/later", end=True)
        one, other = self.library.later
        one.trailers = other.trailers = [(b"grpc-status", b"0")]  # type: ignore[attr-defined]
        one.write(b"some")
        one.finish()
        other.finish()
        self.client.pump()
        self.assertEqual(({"grpc-status": "0"}, b"some", True), (stream.trailers, stream.body, stream.ended))
        self.assertEqual(("0", {}, True), (alone.headers["grpc-status"], alone.trailers, alone.ended))

    def test_early(self) -> None:
        """An answer that is ended early has them, too."""
        streams = [self.client.begin("GET", "/later", end=True) for _ in range(2)]
        for request in self.library.later:
            request.trailers = [(b"grpc-status", b"4")]  # type: ignore[attr-defined]
        self.library.later[0].write(b"some")
        for request in self.library.later:
            request.end_early()
        self.client.pump()
        self.assertEqual(
            ({"grpc-status": "4"}, b"some", True), (streams[0].trailers, streams[0].body, streams[0].ended)
        )
        self.assertEqual(("4", {}, True), (streams[1].headers["grpc-status"], streams[1].trailers, streams[1].ended))

    def test_recorded(self) -> None:
        """The journal has the status of an answer by trailers alone."""
        stream = self.client.begin("GET", "/later", end=True)
        [request] = self.library.later
        request.record = record = RequestRecord("/later", http=HttpFacts("GET", "/later", {}, b"", 0))
        request.trailers = [(b"grpc-status", b"0")]  # type: ignore[attr-defined]
        request.finish()
        self.client.pump()
        self.assertEqual((200, 200), (stream.status, record.http and record.http.status))

    def test_for_nobody(self) -> None:
        """A client that has left is sent none."""
        stream = self.client.begin("GET", "/later", end=True)
        [request] = self.library.later
        request.trailers = [(b"grpc-status", b"4")]  # type: ignore[attr-defined]
        request.hang_up()
        request.end_early()
        self.client.pump()
        self.assertEqual((0, False), (stream.status, stream.ended))


class Answers(Routeless):
    """Answers as its path says."""

    def render(self, request: Request) -> int:
        """Answer."""
        request.setHeader(b"Connection", b"close")
        request.setHeader(b"Transfer-Encoding", b"chunked")
        request.setHeader(b"X-Upper", b"Value")
        if request.path == b"/pieces":
            for piece in (b"a", b"", b"bc"):
                request.write(piece)
            request.write_last(b"d")
        else:
            request.answer(int(request.path[1:]), b"body", b"text/plain")
        request.finish()
        return NOT_DONE_YET


class HeadTests(DoorwayTestCase):
    """Heads and bodies of answers."""

    def setUp(self) -> None:
        """Answer as paths say."""
        super().setUp()
        self.site.resource = Answers()
        self.client = Http2Client(self.site)

    def test_fields(self) -> None:
        """Names are in lower case, and what is about connections of HTTP/1.1 is left out."""
        headers = self.client.send("GET", "/200").headers
        self.assertEqual({"date", "server", "content-length", "content-type", "x-upper"}, set(headers))

    def test_pieces(self) -> None:
        """A body whose length is not known comes in frames alone."""
        stream = self.client.send("GET", "/pieces")
        self.assertEqual(([b"a", b"bc", b"d"], True), ([piece for piece in stream.pieces if piece], stream.ended))
        self.assertNotIn("content-length", stream.headers)

    def test_no_body(self) -> None:
        """A request for the head alone, and an answer that has no body, get none."""
        stream = self.client.send("HEAD", "/200")
        self.assertEqual(("4", b"", True), (stream.headers["content-length"], stream.body, stream.ended))
        self.assertEqual(b"", self.client.send("HEAD", "/pieces").body)
        for status in (204, 304):
            stream = self.client.send("GET", f"/{status}")
            self.assertEqual((status, b"", True), (stream.status, stream.body, stream.ended))
            self.assertNotIn("content-length", stream.headers)

    def test_unusual_status(self) -> None:
        """A status without a name is one, too."""
        self.assertEqual(599, self.client.send("GET", "/599").status)


class RankTests(RankTestCase):
    """A whole rank, reached over HTTP/2."""

    def begin(self, *words: str) -> Http2Client:
        """Build a rank, and connect."""
        self.make_rank("--no-grpc", *words)
        self.rank.site.http2 = lambda: succeed(Http2())
        return self.connect_http2()

    def ask(self, client: Http2Client, **fields: Any) -> ClientStream:
        """Ask for a completion."""
        return client.post("/v1/completions", {"prompt": "hello", "max_tokens": 3, **fields})

    def test_same(self) -> None:
        """Answers are those of HTTP/1.1, whole and streamed."""
        client = self.begin("--mode", "echo")
        for stream in (False, True):
            over = self.ask(client, stream=stream)
            body = self.complete("hello", max_tokens=3, stream=stream).body
            told = json.loads(body) if not stream else None
            self.assertTrue(over.ended)
            if told:
                self.assertEqual(told["choices"], over.json()["choices"])
            else:
                self.assertEqual("[DONE]", over.events()[-1])

    def test_tokens_as_they_come(self) -> None:
        """Tokens of several streams come as they are due."""
        client = self.begin("--inter-token-latency", "100ms")
        streams = [self.ask(client, stream=True, ignore_eos=True) for _ in range(3)]
        counts = []
        for _ in range(3):
            counts.append([len(stream.pieces) for stream in streams])
            self.clock.advance(0.1)
            client.pump()
        self.assertTrue(counts[0] < counts[1] < counts[2], counts)
        self.assertEqual({True}, {stream.ended for stream in streams})

    def test_cancelled(self) -> None:
        """A client that cancels frees its place for others."""
        client = self.begin("--max-num-seqs", "1", "--inter-token-latency", "1s")
        first, second = (self.ask(client, stream=True, ignore_eos=True) for _ in range(2))
        self.assertEqual(1.0, self.sample('vllm:num_requests_waiting{engine="0",model_name="Qwen/Qwen3-0.6B"}'))
        first.cancel()
        for _ in range(4):
            self.clock.advance(1)
            client.pump()
        self.assertTrue(second.ended)

    def test_chain(self) -> None:
        """Keys, request ids, metrics and the access log work as for HTTP/1.1."""
        client = self.begin("--api-key", "secret", "--enable-request-id-headers", "--access-log")
        with capturedLogs() as events:
            self.assertEqual(401, client.send("GET", "/v1/models").status)
            stream = client.send("GET", "/v1/models", authorization="Bearer secret", x_request_id="mine")
        self.assertEqual((200, "mine"), (stream.status, stream.headers["x-request-id"]))
        self.assertIn('- "GET /v1/models HTTP/2" 200 OK', "".join(map(str, map(formatEvent, events))))
        self.assertEqual(1.0, self.sample('http_requests_total{handler="/v1/models",method="GET",status="2xx"}'))

    def test_too_large(self) -> None:
        """A body that is too large is refused as the endpoint's clients know it."""
        client = self.begin("--max-request-body-size-mb", "1")
        for path, kind in (("/v1/completions", "Request Entity Too Large"), ("/v1/messages", "request_too_large")):
            stream = client.begin("POST", path, content_length=str(2 << 20))
            self.assertEqual((413, kind), (stream.status, stream.json()["error"]["type"]))

    def test_failures(self) -> None:
        """What fails on purpose does, and the connection goes on."""
        client = self.begin()
        refused = self.ask(client)
        self.assertEqual(200, refused.status)
        stream = client.post("/v1/completions", {"prompt": "hello"}, x_return_error="429")
        self.assertEqual(429, stream.status)
        self.assertEqual(200, client.send("GET", "/health").status)
