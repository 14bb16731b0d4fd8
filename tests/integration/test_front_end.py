"""vLLM's front-end in Rust, as clients of gRPC's own library see it."""

from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.daemon import PATIENCE, Daemon, DaemonTestCase
from vllmsim.api.controlservice.messages import CONTROL
from vllmsim.api.inferenceservice.messages import FinishInfo, GenerateRequest, GenerateResponse


def channel(daemon: Daemon) -> grpc.Channel:
    """Open a channel to a daemon's first port."""
    return grpc.insecure_channel(f"127.0.0.1:{daemon.port}")


def unary(opened: grpc.Channel, path: str, request: Any, answer: Any) -> Callable[..., Any]:
    """Find a method that answers with one message.

    :param request: the class of what it takes.
    :param answer: the class of what it gives.
    """
    call: Callable[..., Any] = opened.unary_unary(
        path, request_serializer=request.SerializeToString, response_deserializer=answer.FromString
    )
    return call


def control(opened: grpc.Channel, method: str, **members: Any) -> Any:
    """Call a method of those who operate the server."""
    request, answer = CONTROL.message(f"{method}Request"), CONTROL.message(f"{method}Response")
    return unary(opened, f"/vllm.Control/{method}", request, answer)(request(**members), timeout=PATIENCE)


class CallTests(DaemonTestCase):
    """A running daemon is called."""

    words = ("--mode", "echo", "--inter-token-latency", "2ms")

    def setUp(self) -> None:
        """Open a channel."""
        self.channel = channel(self.daemon)
        self.addCleanup(self.channel.close)

    def test_whole(self) -> None:
        """A prompt is continued in one message."""
        generate = unary(self.channel, "/vllm.Inference/Generate", GenerateRequest, GenerateResponse)
        answer = generate(GenerateRequest(text="one two three"), timeout=PATIENCE)
        self.assertEqual((3, "one two three"), (answer.prompt_info.num_prompt_tokens, answer.outputs[0].text))

    def test_stream(self) -> None:
        """A prompt is continued in a message for each token."""
        generate = self.channel.unary_stream(
            "/vllm.Inference/GenerateStream",
            request_serializer=GenerateRequest.SerializeToString,
            response_deserializer=GenerateResponse.FromString,
        )
        text = " ".join(map(str, range(30)))
        stopping = {"max_new_tokens": 25}
        answers = [*generate(GenerateRequest(text=text, stopping=stopping), timeout=PATIENCE)]
        self.assertEqual(25, len(answers))
        self.assertEqual(" ".join(map(str, range(25))), "".join(each.outputs[0].text for each in answers).strip())
        self.assertEqual(FinishInfo.LENGTH, answers[-1].outputs[0].finish_info.finish_reason)

    def test_refused(self) -> None:
        """What cannot be served raises the status of its error."""
        generate = unary(self.channel, "/vllm.Inference/Generate", GenerateRequest, GenerateResponse)
        error: Any = self.assertRaises(grpc.RpcError, generate, GenerateRequest(model="m9"), timeout=PATIENCE)
        self.assertEqual(grpc.StatusCode.NOT_FOUND, error.code())
        self.assertIn("The model `m9` does not exist", error.details())

    def test_reflected(self) -> None:
        """A client that knows nothing of the service learns from the server how to call it."""
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(self.channel))
        method = pool.FindServiceByName("vllm.Inference").methods_by_name["Generate"]
        request, answer = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        asked: Any = request()
        asked.text = "one two"
        asked.kv.kv_transfer_params.update({"do_remote_decode": True})
        told = unary(self.channel, "/vllm.Inference/Generate", request, answer)(asked, timeout=PATIENCE)
        finish = MessageToDict(told)["outputs"][0]["finishInfo"]
        self.assertEqual(("STOP", True), (finish["finishReason"], finish["kvTransferParams"]["do_remote_prefill"]))

    def test_control(self) -> None:
        """A server is paused, and goes on."""
        control(self.channel, "PauseGeneration")
        self.assertTrue(control(self.channel, "IsPaused").is_paused)
        control(self.channel, "ResumeGeneration")
        self.assertFalse(control(self.channel, "IsPaused").is_paused)


class ShutdownTests(SynchronousTestCase):
    """A daemon is shut down, and what it does is not lost."""

    def test_shutdown(self) -> None:
        """Who is being answered has the whole answer, and then all ends well, also where ranks are processes."""
        words = "--data-parallel-size", "2", "--data-parallel-processes"
        daemon = Daemon("--mode", "echo", "--time-to-first-token", "300ms", *words)
        self.addCleanup(daemon.log.close)
        self.addCleanup(daemon.stop)
        daemon.wait()
        opened = channel(daemon)
        self.addCleanup(opened.close)
        generate: Any = unary(opened, "/vllm.Inference/Generate", GenerateRequest, GenerateResponse)
        answering = generate.future(GenerateRequest(text="one two three"), timeout=PATIENCE)
        # What is sent on one connection arrives in order.
        control(opened, "Shutdown")
        self.assertEqual("one two three", answering.result().outputs[0].text)
        self.assertEqual(0, daemon.process.wait(PATIENCE))
        self.assertIn("A client has the server shut down.", daemon.output())
        self.assertNotIn("is started again", daemon.output())
