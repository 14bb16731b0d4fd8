"""A whole rank, called over gRPC as vLLM's front-end in Rust is."""

from typing import Any

from tests.grpc.calling import Called, call
from tests.harness import RankTestCase
from vllmsim.api.controlservice.messages import CONTROL
from vllmsim.api.frames import frame
from vllmsim.api.inferenceservice.messages import GenerateRequest, GenerateResponse


class FrontEndTestCase(RankTestCase):
    """Calls the services of a rank."""

    def generate(self, method: str = "Generate", **members: Any) -> Called:
        """Have a prompt continued; one that is not said is a text."""
        if not {"text", "token_ids"} & set(members):
            members["text"] = "one two three"
        return self.generate_with(GenerateRequest(**members).SerializeToString(), method)

    def generate_with(self, body: Any, method: str = "Generate", **metadata: Any) -> Called:
        """Send a message as it is."""
        called = call(self.connect_http2(), f"/vllm.Inference/{method}", GenerateResponse, frame(body), **metadata)
        self.clock.advance(0)
        called.stream.client.pump()
        return called

    def control(self, method: str, metadata: dict[str, Any] | None = None, **members: Any) -> Called:
        """Call a method of those who operate the server."""
        request = CONTROL.message(f"{method}Request")(**members)
        answer = CONTROL.message(f"{method}Response")
        called = call(self.connect_http2(), f"/vllm.Control/{method}", answer, request, **metadata or {})
        self.clock.advance(0)
        called.stream.client.pump()
        return called

    def advance(self, called: Called, *seconds: float) -> None:
        """Let time pass, and read what has come."""
        self.clock.pump(seconds)
        called.stream.client.pump()
