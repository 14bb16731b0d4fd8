"""The messages of grpc.reflection."""

from grpc_reflection.v1alpha import reflection_pb2
from twisted.trial.unittest import SynchronousTestCase

from tests.api.descriptors import contents
from vllmsim.api.reflection import REFLECTION, REFLECTION_ALPHA


class ReflectionTests(SynchronousTestCase):
    """What is declared is what gRPC has published."""

    def test_descriptors(self) -> None:
        """Every message, field, number, type and method is that of the package grpcio-reflection, in both versions."""
        theirs = reflection_pb2.DESCRIPTOR
        self.assertEqual(contents(theirs), contents(REFLECTION_ALPHA.file))
        self.assertEqual(contents(theirs, "grpc.reflection.v1"), contents(REFLECTION.file))

    def test_bytes(self) -> None:
        """Its bytes are read by gRPC's own classes."""
        response = REFLECTION_ALPHA.message("ServerReflectionResponse")()
        response.list_services_response.service.add(name="vllm.Inference")
        theirs = reflection_pb2.ServerReflectionResponse.FromString(response.SerializeToString())
        self.assertEqual(["vllm.Inference"], [each.name for each in theirs.list_services_response.service])
