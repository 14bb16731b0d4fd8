"""The messages of grpc.health.v1."""

from unittest import skipUnless

from grpc_health.v1 import health_pb2
from twisted.trial.unittest import SynchronousTestCase

from tests.api.descriptors import contents
from vllmsim.api.health import HEALTH, HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse


@skipUnless(hasattr(health_pb2, "HealthListRequest"), "grpcio-health-checking 1.85 is the first that lists")
class HealthTests(SynchronousTestCase):
    """What is declared is what gRPC has published."""

    def test_descriptors(self) -> None:
        """Every message, field, number, type and method is that of the package grpcio-health-checking."""
        self.assertEqual(contents(health_pb2.DESCRIPTOR), contents(HEALTH.file))

    def test_bytes(self) -> None:
        """Its bytes are read by gRPC's own classes, and theirs here."""
        theirs = health_pb2.HealthListResponse.FromString(
            HealthListResponse(
                statuses={"a": HealthCheckResponse(status=HealthCheckResponse.NOT_SERVING)}
            ).SerializeToString()
        )
        self.assertEqual(health_pb2.HealthCheckResponse.NOT_SERVING, theirs.statuses["a"].status)
        asked = health_pb2.HealthCheckRequest(service="vllm").SerializeToString()
        self.assertEqual("vllm", HealthCheckRequest.FromString(asked).service)
        self.assertEqual(b"", HealthListRequest().SerializeToString())
