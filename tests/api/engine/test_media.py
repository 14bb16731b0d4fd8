# -*- test-case-name: tests.api.engine.test_media -*-
"""Tests for :mod:`vllmsim.api.engine.media`."""

from collections.abc import Callable
from typing import Any

from smg_grpc_proto.generated import common_pb2
from smg_grpc_proto.generated import vllm_engine_pb2 as pb
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.engine.media import batches_of, check_tensors, identify, identity_salt, prepared, referred, spans_of
from vllmsim.errors import InvalidRequest
from vllmsim.inference import Span

PIXELS = pb.TensorData(shape=[2, 3], dtype="float32", inline=b"x" * 24)


def batch(*places: tuple[int, int], hashes: str = "", **fields: Any) -> pb.MultimodalInputs:
    """Make a batch, with a hash of one letter for each item."""
    ranges = [pb.PlaceholderRange(offset=offset, length=length) for offset, length in places]
    return pb.MultimodalInputs(mm_placeholders=ranges, mm_hashes=list(hashes), **fields)


def refs(*items: tuple[int, str]) -> pb.MediaRefs:
    """Refer to media."""
    return pb.MediaRefs(items=[pb.MediaRef(modality=kind, url=url) for kind, url in items])


class Refusing(SynchronousTestCase):
    """Tests of what is refused."""

    def refused(self, text: str, function: Callable[..., object], *arguments: Any, **more: Any) -> None:
        """Have something be refused."""
        self.assertIn(text, self.assertRaises(InvalidRequest, function, *arguments, **more).message)


class BatchTests(Refusing):
    """What routers have prepared."""

    def test_order(self) -> None:
        """The first batch comes before the others; tensors make one worth looking at."""
        one, two = batch(hashes="a", pixel_values=PIXELS), batch(hashes="b")
        grid = batch(hashes="c", model_specific_tensors={"image_grid_thw": PIXELS})
        batches = batches_of(pb.GenerateRequest(mm_inputs=one, extra_mm_inputs=[two, grid]))
        self.assertEqual([one, two, grid], batches)
        self.assertEqual([one, grid], prepared(batches))
        self.assertEqual([], batches_of(pb.GenerateRequest()))

    def test_bounds(self) -> None:
        """There are no more batches and items than a prompt could have, and hashes are short."""
        many = pb.GenerateRequest(extra_mm_inputs=[batch()] * 17)
        self.refused("extra_mm_inputs", batches_of, many)
        self.refused("4096", batches_of, pb.GenerateRequest(mm_inputs=batch(hashes="a" * 4097)))
        self.refused("4096", batches_of, pb.GenerateRequest(mm_inputs=batch(*[(1, 1)] * 4097)))
        parts = [batch(hashes="a" * 2048), batch(*[(1, 1)] * 2049)]
        self.refused("4096", batches_of, pb.GenerateRequest(extra_mm_inputs=parts))
        long = pb.GenerateRequest(mm_inputs=pb.MultimodalInputs(mm_hashes=["a" * 257]))
        self.refused("at most 256 characters", batches_of, long)

    def test_tensors(self) -> None:
        """A tensor has the size that its shape and its type say; of one in shared memory that is said, and no more."""
        shared = pb.TensorData(shape=[2], dtype="int64", shm=common_pb2.ShmHandle(name="x", nbytes=16))
        check_tensors([batch(pixel_values=PIXELS, model_specific_tensors={"x": shared})], fetched=False)
        for wrong, text in (
            (pb.TensorData(shape=[2, 3], dtype="float16", inline=b"x" * 24), "expected 12, got 24"),
            (pb.TensorData(shape=[3], dtype="int64", shm=common_pb2.ShmHandle(nbytes=23)), "expected 24, got 23"),
            (pb.TensorData(shape=[1], dtype="complex", inline=b"x"), "Unsupported proto tensor dtype: 'complex'"),
            (pb.TensorData(shape=[1], dtype="uint8"), "TensorData payload is required"),
            (pb.TensorData(shape=[1] * 65, dtype="uint8", inline=b"x"), "65 dimensions"),
            (pb.TensorData(dtype="uint8", remote=common_pb2.RemoteTensorHandle()), "not implemented yet"),
        ):
            self.refused(text, check_tensors, [batch(pixel_values=wrong)], fetched=False)
            other = batch(pixel_values=PIXELS, model_specific_tensors={"x": wrong})
            self.refused(text, check_tensors, [other], fetched=False)

    def test_pixels(self) -> None:
        """Pixels may be left out where the prompt has been computed elsewhere."""
        grid = batch(model_specific_tensors={"image_grid_thw": PIXELS})
        check_tensors([grid], fetched=True)
        self.refused("a pixel-less leg requires remote KV", check_tensors, [grid], fetched=False)

    def test_spans(self) -> None:
        """Media have a hash and a place; they are images unless they are said to be something else."""
        batches = [
            batch((4, 2), (0, 1), (8, 1), hashes="ab", modality=common_pb2.VIDEO),
            batch((2, 2), hashes="c"),
            batch((6, 1), hashes="d", modality=common_pb2.AUDIO),
        ]
        spans = (Span("b", 0, 1, "video"), Span("c", 2, 2), Span("a", 4, 2, "video"), Span("d", 6, 1, "audio"))
        self.assertEqual(spans, spans_of(batches, 7))

    def test_places(self) -> None:
        """Places are in the prompt, have tokens, and are no one else's."""
        within = "mm_placeholders must remain within the prompt's input_ids"
        self.refused(within, spans_of, [batch((3, 3), hashes="a")], 5)
        self.refused(within, spans_of, [batch((3, 0), hashes="a")], 5)
        overlapping = [batch((0, 3), hashes="a"), batch((2, 1), hashes="b")]
        self.refused("must not overlap", spans_of, overlapping, 5)

    def test_salt(self) -> None:
        """The hashes of all batches keep KV blocks apart; where there are none, nothing does."""
        self.assertEqual("mm:a,b", identity_salt([batch(hashes="a"), batch(hashes="b")]))
        self.assertIsNone(identity_salt([batch()]))


class ReferenceTests(Refusing):
    """Media that are referred to."""

    def test_places(self) -> None:
        """They share the prompt evenly, under hashes like those of media over HTTP."""
        spans = referred(refs((common_pb2.IMAGE, "http://x/a"), (common_pb2.AUDIO, "data:audio/wav;base64,AA")), 5)
        self.assertEqual(["image", "audio"], [span.kind for span in spans])
        self.assertEqual([(0, 2), (2, 2)], [(span.offset, span.length) for span in spans])
        self.assertTrue(spans[0].identifier.startswith("sim_img_0_"))

    def test_refusals(self) -> None:
        """What cannot be fetched is refused, though nothing is."""
        image = common_pb2.IMAGE
        for given, text in (
            (refs(), "media_refs is set but carries no items"),
            (refs((0, "http://x")), "media_refs[0]: unsupported modality MODALITY_UNSPECIFIED"),
            (refs((image, "http://x"), (77, "http://x")), "media_refs[1]: unsupported modality 77"),
            (refs((image, "")), "media_refs[0]: empty url"),
            (refs((image, "file:///etc/passwd")), "url scheme 'file' is not accepted by this worker"),
            (refs((image, "/etc/passwd")), "url scheme 'none' is not accepted by this worker"),
            (refs((image, "http://[")), "url scheme 'none' is not accepted by this worker"),
            (refs(*[(image, "http://x")] * 4097), "media_refs has 4097 items"),
        ):
            self.refused(text, referred, given, 5)

    def test_identity(self) -> None:
        """What a decode server is told of them is a batch for each kind, without tensors."""
        identity = identify([1, 2, 3], [Span("a", 0, 1), Span("b", 1, 1, "video"), Span("c", 2, 1)])
        self.assertEqual([1, 2, 3], list(identity.prompt_token_ids))
        self.assertEqual(batch((0, 1), (2, 1), hashes="ac", modality=common_pb2.IMAGE), identity.mm_inputs)
        self.assertEqual([batch((1, 1), hashes="b", modality=common_pb2.VIDEO)], list(identity.extra_mm_inputs))
