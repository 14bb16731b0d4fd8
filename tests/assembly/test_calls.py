"""The services of a whole rank, and who reaches them."""

from typing import Any

from tests.grpc.calling import Called, call
from tests.harness import RankTestCase
from tests.http2client import Http2Client
from vllmsim.api.health import HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse
from vllmsim.grpc.status import Code

_CHECK = "/grpc.health.v1.Health/Check"


class CallsTests(RankTestCase):
    """A rank that speaks HTTP/2."""

    def check(self, client: Http2Client, **metadata: Any) -> Called:
        """Ask how it is."""
        called = call(client, _CHECK, HealthCheckResponse, HealthCheckRequest(), **metadata)
        self.clock.advance(0)
        client.pump()
        return called

    def test_both(self) -> None:
        """Calls and requests share a connection; what is sent with a call of no kind of gRPC's is a request."""
        self.make_rank()
        client = self.connect_http2()
        self.assertEqual((Code.OK, 1), (self.check(client).code, self.check(client).messages[0].status))
        page = client.send("GET", "/health")
        other = client.send("POST", _CHECK, b"", content_type="application/grpcx")
        self.clock.advance(0)
        client.pump()
        self.assertEqual((200, 404), (page.status, other.status))

    def test_every_service(self) -> None:
        """The services that are there are told with their health."""
        self.make_rank()
        client = self.connect_http2()
        called = call(client, "/grpc.health.v1.Health/List", HealthListResponse, HealthListRequest())
        self.clock.advance(0)
        client.pump()
        self.assertIn("grpc.reflection.v1.ServerReflection", called.messages[0].statuses)

    def test_keys(self) -> None:
        """Keys are asked for where a model may be called; how the server is may be known to all."""
        self.make_rank("--api-key", "s3cret")
        client = self.connect_http2()
        self.assertEqual(Code.OK, self.check(client).code)
        told = {}
        for key in ("", "Bearer s3cret"):
            called = call(client, "/vllm.grpc.engine.VllmEngine/None", HealthCheckResponse, b"", authorization=key)
            self.clock.advance(0)
            client.pump()
            told[key] = called.code
        self.assertEqual({"": Code.UNAUTHENTICATED, "Bearer s3cret": Code.UNIMPLEMENTED}, told)

    def test_none(self) -> None:
        """Servers that only encode media have none, and where the operator wants no HTTP/2 none is spoken."""
        self.make_rank("--mm-encoder-only")
        called = self.check(self.connect_http2())
        self.assertEqual((404, None), (called.stream.status, called.code))
        self.make_rank("--no-grpc")
        self.assertIsNone(self.rank.site.http2)
