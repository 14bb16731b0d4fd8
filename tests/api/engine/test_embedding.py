"""Requests of ``VllmEngine.Embed`` and their answers."""

from typing import Any

from smg_grpc_proto.generated import vllm_engine_pb2 as pb
from twisted.trial.unittest import SynchronousTestCase

from tests.api.engine.messages import messages_in
from tests.api.golden import settings
from vllmsim.api.body import Head
from vllmsim.api.engine.embedding import EmbedDialect
from vllmsim.api.naming import Named
from vllmsim.api.pooling.inputs import PoolingCall, PoolingSettings
from vllmsim.errors import InferenceError, UnreadableMessage
from vllmsim.inference import TokenPrompt
from vllmsim.pooling import Pooled, PoolingInput


class EmbedTests(SynchronousTestCase):
    """A server with a context of 8 tokens, and vectors of 4 numbers."""

    def parse(
        self, ids: list[int] | None, *, embeds: bool = True, head: Head | None = None, **fields: Any
    ) -> PoolingCall:
        """Read a request for some tokens."""
        if ids is not None:
            fields["tokenized"] = pb.TokenizedInput(input_ids=ids, original_text="as it was")
        body = pb.EmbedRequest(**fields).SerializeToString()
        return EmbedDialect(PoolingSettings(settings(), 8, 4), embeds).parse(body, head or Head())

    def refusal(self, ids: list[int] | None, **options: Any) -> tuple[int, str]:
        """Find out why a request is refused."""
        error = self.assertRaises(InferenceError, self.parse, ids, **options)
        return error.status, error.message

    def test_request(self) -> None:
        """Token ids are embedded as they are, in a vector of the server's length."""
        request = self.parse([1, 2]).request
        self.assertEqual(("embed", 4), (request.task, request.dimensions))
        self.assertEqual((PoolingInput(TokenPrompt((1, 2))),), request.inputs)

    def test_name(self) -> None:
        """It is called what the message says, or else the metadata, or else as the server likes."""
        names = [
            self.parse([1], head=head, request_id=name).reading.id
            for head, name in ((None, "e1"), (Head(request_id="h"), "e1"), (Head(request_id="h"), ""), (None, ""))
        ]
        self.assertEqual(["e1", "e1", "h", "0123456789abcdef"], names)

    def test_answer(self) -> None:
        """The answer is one message: the vector, its length, and the tokens that were read."""
        [piece] = self.parse([1, 2]).write([Pooled(2, [[0.5, -0.25, 1.0, 0.0]])]).pieces
        [message] = messages_in(piece)
        expected = pb.EmbedResponse(embedding=[0.5, -0.25, 1.0, 0.0], prompt_tokens=2, embedding_dim=4)
        self.assertEqual(expected, pb.EmbedResponse.FromString(message))

    def test_refused(self) -> None:
        """A request without tokens, or with too many, is refused, and any where the model does not embed."""
        self.assertEqual((400, "EmbedRequest requires tokenized input"), self.refusal(None))
        status, text = self.refusal([1] * 9)
        self.assertEqual((400, True), (status, "your prompt contains at least 9 input tokens" in text))
        self.assertIn("contains 10 input tokens", self.refusal([1] * 10)[1])
        self.assertEqual((400, "Unsupported task: 'embed' Supported tasks: []"), self.refusal([1], embeds=False))

    def test_unreadable(self) -> None:
        """What is no message of that type is told to be none, also to failures that are to be chosen."""
        dialect = EmbedDialect(PoolingSettings(settings(), 8, 4))
        for read in (dialect.parse, dialect.named):
            self.assertRaises(UnreadableMessage, read, b"\x07", Head())
        self.assertEqual(Named(None, streamed=False), dialect.named(b"", Head()))
