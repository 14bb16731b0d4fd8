"""Embedding over gRPC."""

import json
from typing import Any

from google.protobuf.message import DecodeError
from smg_grpc_proto.generated import vllm_engine_pb2 as pb

from tests.grpc.calling import Called
from tests.grpc.ranks import PATH, EngineTestCase
from vllmsim.grpc.status import Code


class EmbedTests(EngineTestCase):
    """A rank's vectors."""

    def embed(self, ids: list[int] | None, **metadata: str) -> Called:
        """Ask for a vector."""
        request = pb.EmbedRequest(request_id="e1")
        if ids is not None:
            request.tokenized.input_ids.extend(ids)
        return self.ask("Embed", pb.EmbedResponse, request, **metadata)

    def test_vector(self) -> None:
        """The vector is that of the same tokens over HTTP, and the tokens that were read are counted."""
        self.make_rank("--default-embedding-dimensions", "8", "--pod-name", "p1")
        called = self.embed([1, 2, 3])
        vector = self.told(called)
        self.assertEqual((8, 3, "p1"), (vector.embedding_dim, vector.prompt_tokens, called.metadata["x-inference-pod"]))
        listed = self.post("/v1/embeddings", {"input": [1, 2, 3]}).json()["data"][0]["embedding"]
        for ours, theirs in zip(vector.embedding, listed, strict=True):
            self.assertAlmostEqual(theirs, ours, places=6)

    def test_long_vector(self) -> None:
        """A vector that takes long to write is the same."""
        self.make_rank("--default-embedding-dimensions", "30000")
        self.assertEqual(30000, len(self.told(self.embed([1])).embedding))

    def test_time(self) -> None:
        """A prompt takes the time of its prefill in a slot; whoever has no slot waits."""
        self.make_rank("--time-to-first-token", "1s", "--max-num-seqs", "1")
        first, second = self.embed([1]), self.embed([2])
        self.wait(first, 1)
        self.assertEqual((Code.OK, None), (first.code, second.code))
        self.wait(second, 1)
        self.assertEqual(Code.OK, second.code)

    def test_left(self) -> None:
        """A client that leaves gives its slot to the next."""
        self.make_rank("--time-to-first-token", "1s", "--max-num-seqs", "1")
        first = self.embed([1])
        first.stream.cancel()
        self.clock.advance(0)
        self.assertEqual(Code.OK, self.wait(self.embed([2]), 1).code)

    def test_wrong(self) -> None:
        """What cannot be embedded is the client's mistake, and told in vLLM's words."""
        self.make_rank("--max-model-len", "4", "--tokenizer", "builtin")
        for ids, text in (
            (None, "EmbedRequest requires tokenized input"),
            ([], "The decoder prompt cannot be empty"),
            ([1] * 5, "your prompt contains at least 5 input tokens"),
            ([1] * 9, "your prompt contains 9 input tokens"),
            ([1 << 31], "Token id 2147483648 is out of vocabulary"),
        ):
            called = self.embed(ids)
            self.assertEqual((Code.INVALID_ARGUMENT, True), (called.code, text in called.text), called.text)

    def test_unreadable(self) -> None:
        """What is no message of that type is answered as other servers answer it."""
        self.make_rank()
        called = self.ask("Embed", pb.EmbedResponse, b"\0\0\0\0\x01\x07")
        self.assertEqual(Code.INTERNAL, called.code)

    def test_runner(self) -> None:
        """A server that generates embeds nothing, and one that pools does."""
        for runner, code in (("generate", Code.INVALID_ARGUMENT), ("pooling", Code.OK), ("auto", Code.OK)):
            self.make_rank("--runner", runner)
            self.assertEqual(code, self.embed([1]).code, runner)

    def test_paused(self) -> None:
        """A rank that lets nobody in says so."""
        self.make_rank()
        self.post("/pause", b"")
        called = self.embed([1])
        self.assertEqual(Code.UNAVAILABLE, called.code)
        self.assertIn("Generation is paused", called.text)

    def test_journal(self) -> None:
        """The journal remembers it by its id, with its tokens."""
        self.make_rank()
        self.embed([1, 2, 3])
        [request] = self.get("/admin/requests").json()["requests"]
        self.assertEqual((PATH + "Embed", "e1", 3), (request["route"], request["id"], request["prompt_tokens"]))

    def spoilt(self, **rule: Any) -> Called:
        """Embed on a rank whose requests fail by a rule."""
        self.make_rank("--failure-rules", json.dumps([{"route": PATH + "Embed", **rule}]))
        return self.embed([1])

    def test_failures(self) -> None:
        """It fails by rules that name its path: with the code that goes with theirs, late, spoilt, or cut off."""
        refused = self.spoilt(status=429, message="No.")
        self.assertEqual((Code.RESOURCE_EXHAUSTED, "No."), (refused.code, refused.text))
        late = self.spoilt(**{"first-token": "2s"})
        self.assertIsNone(late.code)
        self.assertEqual(Code.OK, self.wait(late, 2).code)
        self.assertRaises(DecodeError, lambda: self.spoilt(malformed=0).messages)
        cut = self.spoilt(cut=0)
        self.assertEqual((Code.UNAVAILABLE, b""), (cut.code, cut.stream.body))
