"""What every server of gRPC has, seen by the clients of its own project."""

import threading
from typing import Any

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from smg_grpc_proto.generated import vllm_engine_pb2 as pb

from tests.integration.daemon import PATIENCE, DaemonTestCase

ENGINE = "vllm.grpc.engine.VllmEngine"
SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3


def generate(channel: grpc.Channel, text: str, **options: Any) -> list[Any]:
    """Have some tokens generated."""
    call = channel.unary_stream(
        f"/{ENGINE}/Generate", pb.GenerateRequest.SerializeToString, pb.GenerateResponse.FromString
    )
    sampling = pb.SamplingParams(max_tokens=3, ignore_eos=True, n=1, temperature=1, top_p=1, repetition_penalty=1)
    request = pb.GenerateRequest(request_id="r", text=text, sampling_params=sampling)
    return list(call(request, timeout=options.pop("timeout", PATIENCE), **options))


class BaseTests(DaemonTestCase):
    """A server that answers."""

    words = ("--max-request-body-size-mb", "5", "--max-model-len", "8M")

    def setUp(self) -> None:
        """Connect."""
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.daemon.port}")
        self.addCleanup(self.channel.close)

    def test_reflection(self) -> None:
        """A client without any of the messages finds the services and makes messages of what it is told."""
        database = ProtoReflectionDescriptorDatabase(self.channel)
        services = database.get_services()
        self.assertIn(ENGINE, services)
        self.assertIn("grpc.health.v1.Health", services)
        method = DescriptorPool(database).FindServiceByName(ENGINE).methods_by_name["SubscribeKvEvents"]
        self.assertEqual("common.proto", method.output_type.file.name)
        with self.assertRaises(KeyError):
            DescriptorPool(database).FindServiceByName("vllm.Nothing")

    def test_health(self) -> None:
        """Probes find the server and its services serving, and what is not there missing."""
        health = HealthStub(self.channel)
        for service in ("", ENGINE):
            answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE)
            self.assertEqual(SERVING, answer.status)
        with self.assertRaises(grpc.RpcError) as caught:
            health.Check(health_pb2.HealthCheckRequest(service="nothing"), timeout=PATIENCE)
        self.assertEqual(grpc.StatusCode.NOT_FOUND, caught.exception.code())
        watching = health.Watch(health_pb2.HealthCheckRequest(service="nothing"), timeout=PATIENCE)
        self.assertEqual(SERVICE_UNKNOWN, next(watching).status)
        watching.cancel()

    def test_compressed(self) -> None:
        """Clients may compress what they send, also what is not inflated at once."""
        text = "x" * (4 << 20)
        for compression in (None, grpc.Compression.Gzip, grpc.Compression.Deflate):
            last = generate(self.channel, text, compression=compression)[-1]
            self.assertEqual(3, len(last.complete.output_ids))

    def test_too_large(self) -> None:
        """What is too large is refused, also where it is so only when it is inflated."""
        for compression in (None, grpc.Compression.Gzip):
            with self.assertRaises(grpc.RpcError) as caught:
                generate(self.channel, "x" * (6 << 20), compression=compression)
            self.assertEqual(grpc.StatusCode.RESOURCE_EXHAUSTED, caught.exception.code())
            self.assertIn("larger than 5242880 bytes", caught.exception.details() or "")
        self.assertEqual(3, len(generate(self.channel, "x")[-1].complete.output_ids))


class SlowTests(DaemonTestCase):
    """A server that takes its time, to begin and to answer."""

    words = ("--startup-duration", "1500ms", "--time-to-first-token", "60s", "--max-num-seqs", "1")

    def setUp(self) -> None:
        """Connect."""
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.daemon.port}")
        self.addCleanup(self.channel.close)

    def test_deadline(self) -> None:
        """A call whose client has no more time ends, and leaves its slot to others."""
        for _ in range(3):
            with self.assertRaises(grpc.RpcError) as caught:
                generate(self.channel, "x", timeout=0.2)
            self.assertEqual(grpc.StatusCode.DEADLINE_EXCEEDED, caught.exception.code())
        metrics = self.daemon.get("/metrics").decode()
        (running,) = [line for line in metrics.splitlines() if line.startswith("vllm:num_requests_running{")]
        self.assertEqual("0.0", running.split()[-1])

    def test_watched(self) -> None:
        """Who watches is told when the model is loaded, and that the server stops, which waits for nobody."""
        daemon = self.start(*self.words)
        daemon.wait()
        channel = grpc.insecure_channel(f"127.0.0.1:{daemon.port}")
        self.addCleanup(channel.close)
        watching = HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=ENGINE), timeout=PATIENCE)
        self.assertEqual([NOT_SERVING, SERVING], [next(watching).status for _ in range(2)])
        stopping = threading.Thread(target=daemon.stop)
        stopping.start()
        self.assertEqual(NOT_SERVING, next(watching).status)
        with self.assertRaises(grpc.RpcError) as caught:
            next(watching)
        self.assertEqual(grpc.StatusCode.UNAVAILABLE, caught.exception.code())
        self.assertEqual("The server stops.", caught.exception.details())
        stopping.join(PATIENCE)
        self.assertEqual(0, daemon.process.returncode)
