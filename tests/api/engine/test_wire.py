# -*- test-case-name: tests.api.engine.test_wire -*-
"""Tests for :mod:`vllmsim.api.engine.wire`."""

from smg_grpc_proto.generated import vllm_engine_pb2 as pb
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.engine.wire import enclosed


class EnclosedTests(SynchronousTestCase):
    """A message within another is written as the library of protocol buffers writes it."""

    def test_lengths(self) -> None:
        """Messages may be of any length."""
        for length in (0, 1, 120, 127, 128, 16383, 16384, 2_097_152):
            chunk = pb.GenerateStreamChunk(token_ids=[5] * length)
            expected = pb.GenerateResponse(chunk=chunk).SerializeToString()
            self.assertEqual(expected, enclosed(1, chunk.SerializeToString()), length)

    def test_numbers(self) -> None:
        """A field is found by its number, behind whatever else is there."""
        given = pb.InputLogProbs(token_ids=[1, 2])
        chunk = pb.GenerateStreamChunk(index=3, prompt_tokens=7)
        written = chunk.SerializeToString() + enclosed(6, given.SerializeToString())
        chunk.input_logprobs.CopyFrom(given)
        self.assertEqual(chunk, pb.GenerateStreamChunk.FromString(written))
