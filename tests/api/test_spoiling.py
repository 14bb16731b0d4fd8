# -*- test-case-name: tests.api.test_spoiling -*-
"""Tests for :mod:`vllmsim.api.spoiling`."""

import json

from google.protobuf.message import DecodeError
from smg_grpc_proto.generated import vllm_engine_pb2 as pb
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.frames import frame
from vllmsim.api.spoiling import EVENTS, MESSAGES


class EventTests(SynchronousTestCase):
    """Answers over HTTP."""

    def test_frames(self) -> None:
        """Events are cut behind their blank lines."""
        self.assertEqual([b"data: 1\n\n", b"event: x\ndata: 2\n\n"], EVENTS.frames(b"data: 1\n\nevent: x\ndata: 2\n\n"))
        self.assertEqual([], EVENTS.frames(b""))

    def test_malformed(self) -> None:
        """JSON is none then, in an event or alone."""
        for text in (b"[1]", b'{"a":1}'):
            spoilt = EVENTS.malformed(text)
            self.assertRaises(ValueError, json.loads, spoilt)
            self.assertEqual(spoilt + b"\n\n", EVENTS.malformed(text + b"\n\n"))


class MessageTests(SynchronousTestCase):
    """Answers over gRPC."""

    def test_frames(self) -> None:
        """Messages are cut from each other by their lengths, whatever is in them."""
        frames = [frame(b""), frame(b"\n\n\x00\x00"), frame(b"x" * 300)]
        self.assertEqual(frames, MESSAGES.frames(b"".join(frames)))
        self.assertEqual([], MESSAGES.frames(b""))

    def test_malformed(self) -> None:
        """The first message is none then, and as long as it was."""
        whole = frame(pb.GenerateResponse(chunk=pb.GenerateStreamChunk(token_ids=[1])).SerializeToString())
        spoilt = MESSAGES.malformed(whole + whole)
        self.assertEqual(whole, spoilt[len(whole) :])
        self.assertEqual(whole[:5], spoilt[:5])
        self.assertRaises(DecodeError, pb.GenerateResponse.FromString, spoilt[5 : len(whole)])

    def test_nothing_to_spoil(self) -> None:
        """A message without bytes stays as it is."""
        self.assertEqual(frame(b""), MESSAGES.malformed(frame(b"")))
