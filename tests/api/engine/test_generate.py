# -*- test-case-name: tests.api.engine.test_generate -*-
"""Requests of ``VllmEngine.Generate`` and their answers."""

from typing import Any

from attrs import evolve
from smg_grpc_proto.generated import common_pb2
from smg_grpc_proto.generated import vllm_engine_pb2 as pb
from twisted.trial.unittest import SynchronousTestCase

from tests.api.engine.messages import FIVE, HEAD, encoder, generate, parse, responses, streamed, whole
from tests.api.golden import EOS, answer, prompt, settings
from vllmsim.api.body import Head
from vllmsim.api.engine.generate import GenerateDialect
from vllmsim.api.naming import Named
from vllmsim.errors import InferenceError, InvalidRequest, PromptTooLong, Unavailable, UnknownModel, UnreadableMessage
from vllmsim.inference import Answer, Cut, InferenceRequest, Prefill, Span, TextPrompt, TokenPrompt
from vllmsim.models import ModelCatalogue

PROMPT = prompt(FIVE)
TWO = Answer([227, 298], [" ", "?"], [" ", "?"], "length", prefill=Prefill(5, cached=4))
NOTHING = Answer((), (), (), "abort")


class WholeTests(SynchronousTestCase):
    """Answers in one piece."""

    def test_complete(self) -> None:
        """A choice is one message with all its tokens, why they end, and what was counted."""
        [complete] = whole(generate(), PROMPT, TWO)
        self.assertEqual(
            pb.GenerateComplete(
                output_ids=[227, 298], finish_reason="length", prompt_tokens=5, completion_tokens=2, cached_tokens=4
            ),
            complete,
        )

    def test_choices(self) -> None:
        """There is a message for each choice, in their order, and each counts its own tokens."""
        sent = whole(generate({"n": 2}), PROMPT, TWO, answer(71, 72, EOS))
        self.assertEqual([(0, 2, 4), (1, 3, 0)], [(m.index, m.completion_tokens, m.cached_tokens) for m in sent])
        self.assertEqual([227, 298, 71, 72, EOS], [token for message in sent for token in message.output_ids])

    def test_matched_stop(self) -> None:
        """What has ended a choice is a token or a text; the end of the sequence is neither."""
        stops: list[str | int | None] = [None, 0, "", "c", 73]
        sent = whole(generate({"n": 5}), PROMPT, *(answer(71, stop=stop) for stop in stops))
        kinds = [message.WhichOneof("matched_stop") for message in sent]
        self.assertEqual([None, "matched_token_id", "matched_stop_str", "matched_stop_str", "matched_token_id"], kinds)
        self.assertEqual(("c", 73), (sent[3].matched_stop_str, sent[4].matched_token_id))

    def test_abort(self) -> None:
        """A choice that was aborted before it said anything has no tokens, and says why."""
        [complete] = whole(generate({"logprobs": 1}), PROMPT, NOTHING)
        self.assertEqual(([], "abort", 5), (list(complete.output_ids), complete.finish_reason, complete.prompt_tokens))
        self.assertFalse(complete.HasField("output_logprobs"))

    def test_logprobs(self) -> None:
        """Log probabilities of the answer and of the prompt come where they are asked for, and not elsewhere."""
        [complete] = whole(generate({"logprobs": 2, "prompt_logprobs": 0}), PROMPT, TWO)
        shown, given = complete.output_logprobs, complete.input_logprobs
        self.assertEqual(([227, 298], [2, 2]), (list(shown.token_ids), [len(top.values) for top in shown.top_logprobs]))
        self.assertEqual((FIVE, 0), (list(given.token_ids), len(given.top_logprobs)))
        [complete] = whole(generate(), PROMPT, TWO)
        self.assertEqual((False, False), (complete.HasField("output_logprobs"), complete.HasField("input_logprobs")))

    def test_handover(self) -> None:
        """A prefill server says where the prompt's blocks are, in both forms; no other does."""
        asked = generate(request_id="r", kv_transfer_params_json='{"do_remote_decode": true}')
        [complete] = whole(asked, PROMPT, TWO)
        self.assertIn('"remote_request_id":"r"', complete.kv_transfer_params_json)
        self.assertEqual(("localhost", 5600), _place(complete))
        [complete] = whole(generate(kv_transfer_params_json="{}"), PROMPT, TWO)
        self.assertEqual(
            (False, False), (complete.HasField("kv_transfer_params_json"), complete.HasField("kv_transfer_params"))
        )

    def test_identity(self) -> None:
        """A prefill server tells of the media that it was to fetch, so that the decode server need not."""
        refs = pb.MediaRefs(items=[pb.MediaRef(modality=common_pb2.IMAGE, url="http://x/i.png")])
        read = prompt(FIVE, "", Span("h", 1, 2))
        asked = generate(media_refs=refs, kv_transfer_params_json='{"do_remote_decode": true}')
        [complete] = whole(asked, read, TWO)
        identity = complete.media_identity
        self.assertEqual((FIVE, ["h"]), (list(identity.prompt_token_ids), list(identity.mm_inputs.mm_hashes)))
        for other in (generate(media_refs=refs), generate(kv_transfer_params_json='{"do_remote_decode": true}')):
            [complete] = whole(other, read, TWO)
            self.assertFalse(complete.HasField("media_identity"))


def _place(complete: pb.GenerateComplete) -> tuple[str, int]:
    return complete.kv_transfer_params.remote_host, complete.kv_transfer_params.remote_port


class StreamTests(SynchronousTestCase):
    """Answers in pieces."""

    def test_stream(self) -> None:
        """A chunk comes with each token, and behind the last one how the choice ends, with that token once more."""
        first, second, end = streamed(generate(), PROMPT, TWO)
        counts: Any = {"prompt_tokens": 5, "completion_tokens": 1, "cached_tokens": 4}
        self.assertEqual(pb.GenerateStreamChunk(token_ids=[227], **counts), first)
        self.assertEqual(pb.GenerateStreamChunk(token_ids=[298], **counts), second)
        self.assertEqual(pb.GenerateComplete(output_ids=[298], finish_reason="length", **counts), end)

    def test_every_token(self) -> None:
        """Tokens of any size come as the library of protocol buffers writes them."""
        ids = [0, 1, 127, 128, 16383, 16384, 2097151, 2097152, 268435455, 268435456, 4294967295, 5]
        said = Answer(ids, [""] * len(ids), [""] * len(ids), "length", prefill=Prefill(5, cached=2))
        begun = encoder(generate({"n": 2}, stream=True), PROMPT)
        for number, token in enumerate(ids[:-1]):
            chunk = pb.GenerateStreamChunk(
                token_ids=[token], prompt_tokens=5, completion_tokens=1, cached_tokens=2, index=1
            )
            expected = pb.GenerateResponse(chunk=chunk).SerializeToString()
            self.assertEqual(expected, begun.tokens(1, said, number, number + 1)[5:], token)

    def test_runs_are_the_same_as_single_tokens(self) -> None:
        """However many tokens come at once, the bytes of the stream are the same."""
        said = answer(71, 72, 227, 73, 74, EOS)
        for asked in (generate(), generate({"logprobs": 1}), generate({"prompt_logprobs": 1})):
            for interval in (1, 4):
                streams = set()
                for step in (1, 2, 3, 6):
                    asked.stream = True
                    begun = encoder(asked, PROMPT, stream_interval=interval)
                    runs = [begun.tokens(0, said, at, min(6, at + step)) for at in range(0, 6, step)]
                    streams.add(b"".join([*runs, begun.closing()]))
                self.assertEqual(1, len(streams))

    def test_choices(self) -> None:
        """Choices take turns, and each ends for itself; the last message of all comes with the end."""
        asked = generate({"n": 2}, stream=True)
        sent = streamed(asked, PROMPT, answer(71, EOS), answer(72, 73, EOS))
        self.assertEqual([0, 1, 0, 0, 1, 1, 1], [message.index for message in sent])
        ends = [number for number, message in enumerate(sent) if isinstance(message, pb.GenerateComplete)]
        self.assertEqual([3, 6], ends)
        begun = encoder(asked, PROMPT)
        begun.tokens(0, TWO, 0, 2)
        self.assertEqual(2, len(responses(begun.tokens(1, TWO, 0, 2))))
        [end] = responses(begun.closing())
        self.assertEqual(1, end.complete.index)

    def test_interval(self) -> None:
        """The first token comes alone, the others as many at a time as the server says."""
        sent = streamed(generate(), PROMPT, answer(71, 72, 73, 74, EOS), stream_interval=3)
        self.assertEqual([[71], [72, 73, 74], [EOS]], [list(chunk.token_ids) for chunk in sent[:-1]])
        self.assertEqual([1, 3, 1], [chunk.completion_tokens for chunk in sent[:-1]])
        self.assertEqual(([EOS], 1), (list(sent[-1].output_ids), sent[-1].completion_tokens))

    def test_together(self) -> None:
        """What a step gives may go in one chunk; the last is told once more with the end."""
        begun, said = encoder(generate(stream=True), PROMPT, together=True), answer(71, 72, 73, 74, EOS)
        sent = [responses(begun.tokens(0, said, start, stop)) for start, stop in ((0, 1), (1, 3), (3, 5))]
        self.assertEqual(
            [[[71]], [[72, 73]], [[74, EOS]]], [[list(one.chunk.token_ids) for one in each] for each in sent]
        )
        [end] = responses(begun.closing())
        self.assertEqual([74, EOS], list(end.complete.output_ids))

    def test_logprobs(self) -> None:
        """Each message has the log probabilities of its own tokens; the first of each choice has the prompt's."""
        sampling = {"n": 2, "logprobs": 0, "prompt_logprobs": 1}
        sent = streamed(generate(sampling), PROMPT, answer(71, 72, EOS), answer(73))
        shown = [(message.index, list(message.output_logprobs.token_ids)) for message in sent]
        self.assertEqual([(0, [71]), (1, [73]), (1, [73]), (0, [72]), (0, [EOS]), (0, [EOS])], shown)
        given = [list(message.input_logprobs.token_ids) for message in sent]
        self.assertEqual([FIVE, FIVE, FIVE, [], [], []], given, "an answer of one token has them twice")

    def test_nothing_said(self) -> None:
        """A choice that ends without a token has a chunk without one before its end."""
        for sampling in ({}, {"logprobs": 1}):
            begun = encoder(generate(sampling, stream=True), PROMPT)
            [chunk] = responses(begun.tokens(0, NOTHING, 0, 0))
            self.assertEqual(pb.GenerateStreamChunk(prompt_tokens=5), chunk.chunk)
            [end] = responses(begun.closing())
            self.assertEqual("abort", end.complete.finish_reason)

    def test_abort(self) -> None:
        """One that is aborted later has its tokens, and no token is said twice."""
        begun = encoder(generate(stream=True), PROMPT)
        begun.tokens(0, answer(71, 72, EOS), 0, 2)
        aborted = Answer([71, 72], ["a", "b"], ["a", "b"], "abort")
        [chunk] = responses(begun.tokens(0, aborted, 2, 2))
        [end] = responses(begun.closing())
        self.assertEqual(([], []), (list(chunk.chunk.token_ids), list(end.complete.output_ids)))

    def test_handover(self) -> None:
        """Just the end says where the prompt's blocks are."""
        sent = streamed(generate(kv_transfer_params_json='{"do_remote_decode": true}'), PROMPT, TWO)
        self.assertEqual(("localhost", 5600), _place(sent[-1]))

    def test_failure(self) -> None:
        """An error is no message, as it is in the status of the call; a stream that breaks off has no end either."""
        begun = encoder(generate(stream=True), PROMPT)
        begun.tokens(0, answer(71, 72, EOS), 0, 1)
        self.assertEqual((b"", b""), (begun.failure(Unavailable("gone")), begun.closing()))


class ParseTests(SynchronousTestCase):
    """What a request becomes."""

    def read(self, asked: pb.GenerateRequest, head: Head = HEAD, **more: Any) -> InferenceRequest:
        """Read a request."""
        return parse(asked, head, **more).request

    def refused(self, kind: type[InferenceError], asked: pb.GenerateRequest, text: str, **more: Any) -> None:
        """Read a request that is refused."""
        error = self.assertRaises(kind, self.read, asked, **more)
        self.assertIn(text, error.message)

    def test_prompts(self) -> None:
        """A prompt is token ids or text; one of neither is an empty text, which nobody can go on with."""
        self.assertEqual((TokenPrompt(tuple(FIVE)),), self.read(generate()).prompts)
        self.assertEqual((TextPrompt("hi"),), self.read(generate(text="hi")).prompts)
        self.assertEqual((TextPrompt(""),), self.read(pb.GenerateRequest()).prompts)
        named = pb.TokenizedInput(input_ids=[7], original_text="x")
        self.assertEqual((TokenPrompt((7,)),), self.read(generate(tokenized=named)).prompts)

    def test_names(self) -> None:
        """A request is called what it says, without a prefix, else what its metadata say, else anything."""
        read = self.read(generate(request_id="r"), Head(request_id="h"))
        self.assertEqual(("r", "r", True), (read.request_id, read.answer_id, read.named_by_client))
        self.assertEqual("h", self.read(generate(), Head(request_id="h")).answer_id)
        read = self.read(generate())
        self.assertEqual(("0123456789abcdef", False), (read.answer_id, read.named_by_client))

    def test_models(self) -> None:
        """The metadata name an alias or an adapter; without them it is the base model, and others are unknown."""
        models = ModelCatalogue("/models/m1", ("m1", "m2"))
        adapter = models.add("poet", "/p", None)
        for name, model, used in ((None, "m1", None), ("m2", "m1", None), ("poet", "poet", adapter)):
            read = self.read(generate(), Head(model=name), models=models)
            self.assertEqual((model, used, name), (read.model, read.adapter, read.asked))
        self.assertRaises(UnknownModel, parse, generate(), Head(model="zzz"))

    def test_rank(self) -> None:
        """A request may name its rank; one that there is not is refused as vLLM does."""
        self.assertEqual(1, self.read(generate(data_parallel_rank=1), ranks=(0, 1)).rank)
        self.assertEqual(0, self.read(generate(data_parallel_rank=0), Head(data_parallel_rank="1"), ranks=(0, 1)).rank)
        self.assertIsNone(self.read(generate()).rank)
        for rank in (-1, 2):
            text = f"data_parallel_rank {rank} is out of range [0, 2)."
            self.refused(InvalidRequest, generate(data_parallel_rank=rank), text, ranks=(0, 1))

    def test_cut(self) -> None:
        """Of a prompt that is to be shortened, the end is what stays."""
        asked = generate({"truncate_prompt_tokens": 3})
        self.assertEqual(Cut(3, "left"), self.read(asked).cut)
        self.assertIsNone(self.read(generate()).cut)
        self.refused(InvalidRequest, generate({"truncate_prompt_tokens": -2}), "truncate_prompt_tokens must be -1")

    def test_long_prompts(self) -> None:
        """A prompt longer than the context is refused unread; of one that is to be shortened, that much is read."""
        self.refused(PromptTooLong, generate(ids=[1] * 257), "at least 257 input tokens")
        self.refused(PromptTooLong, generate(ids=[1] * 300), "contains 300 input tokens")
        [read] = self.read(generate({"truncate_prompt_tokens": -1}, ids=list(range(300)))).prompts
        self.assertEqual(TokenPrompt(tuple(range(44, 300))), read)
        self.assertEqual(256, len(self.read(generate(ids=[1] * 256)).prompts[0].ids))  # type: ignore[union-attr]

    def test_repetition(self) -> None:
        """The log probabilities of a prompt are not told so often that nobody could hold them."""
        asked = generate({"n": 16384, "prompt_logprobs": 4}, ids=[1] * 129)
        self.refused(InvalidRequest, asked, "prompt_logprobs would be told 16384 times, 8454144 numbers in all")
        asked = generate({"n": 16384, "prompt_logprobs": 20}, text="x" * 27)
        self.refused(InvalidRequest, asked, "8847360 numbers")
        self.read(generate({"n": 16384, "prompt_logprobs": 4}, ids=[1] * 128))
        self.read(generate({"n": 16384, "prompt_logprobs": -1}, text="x" * 256))
        self.read(generate({"prompt_logprobs": -1}, ids=[1] * 256))

    def test_transfer(self) -> None:
        """A decode server learns that another has computed the prompt, in either form."""
        decode = generate(kv_transfer_params_json='{"do_remote_prefill": true, "remote_num_tokens": 3}')
        read = self.read(decode)
        self.assertEqual((True, 3), (read.remote_prefill, read.remote_tokens))
        older = generate(kv_transfer_params=pb.KvTransferParams(remote_host="h", remote_port=8998))
        self.assertEqual((True, None), (self.read(older).remote_prefill, self.read(older).remote_tokens))
        self.assertFalse(self.read(generate()).remote_prefill)

    def test_form(self) -> None:
        """Where the server reasons, answers to tokens may begin so, unless the structure is to begin at once."""
        self.assertTrue(self.read(generate(), reasons=True).form.thinks)
        self.assertFalse(self.read(generate()).form.thinks)
        self.assertFalse(self.read(generate(text="x"), reasons=True).form.thinks)
        at_once = generate({"regex": "a+", "grammar_from_first_token": True})
        self.assertFalse(self.read(at_once, reasons=True).form.thinks)

    def test_media(self) -> None:
        """Tokens stand for media that a router has prepared, or refers to."""
        image = pb.MultimodalInputs(
            pixel_values=pb.TensorData(shape=[2], dtype="uint8", inline=b"xy"),
            mm_hashes=["a"],
            mm_placeholders=[pb.PlaceholderRange(offset=1, length=2)],
        )
        [read] = self.read(generate(mm_inputs=image)).prompts
        self.assertEqual(TokenPrompt(tuple(FIVE), (Span("a", 1, 2),)), read)
        refs = pb.MediaRefs(items=[pb.MediaRef(modality=common_pb2.VIDEO, url="data:video/mp4;base64,AA")])
        [read] = self.read(generate(media_refs=refs)).prompts
        assert isinstance(read, TokenPrompt)
        self.assertEqual([("video", 0, 5)], [(span.kind, span.offset, span.length) for span in read.media])
        for asked in (generate(mm_inputs=image), generate(media_refs=refs)):
            self.refused(InvalidRequest, asked, "m1 is not a multimodal model", multimodal=False)
        both = "cannot be combined with preprocessed multimodal inputs"
        self.refused(InvalidRequest, generate(mm_inputs=image, media_refs=refs), both)
        self.refused(InvalidRequest, generate(text="x", media_refs=refs), both)
        cut = generate({"truncate_prompt_tokens": 5}, ids=list(range(300)), mm_inputs=image)
        [read] = self.read(cut).prompts
        assert isinstance(read, TokenPrompt)
        self.assertEqual((), read.media, "they are where the prompt is cut off")

    def test_identity(self) -> None:
        """Where nothing is left of media but hashes, they keep KV blocks apart."""
        hashes = pb.MultimodalInputs(mm_hashes=["a", "b"])
        more = [pb.MultimodalInputs(mm_hashes=["c"])]
        read = self.read(generate(mm_inputs=hashes, extra_mm_inputs=more))
        self.assertEqual(("mm:a,b,c", ()), (read.cache_salt, read.prompts[0].media))  # type: ignore[union-attr]
        self.assertIsNone(self.read(generate()).cache_salt)

    def test_unreadable(self) -> None:
        """What is no message is refused, by who reads it for its name too."""
        dialect = GenerateDialect(settings(), 256)
        self.assertRaises(UnreadableMessage, dialect.parse, b"\xff", HEAD)
        self.assertRaises(UnreadableMessage, dialect.named, b"\xff", HEAD)

    def test_named(self) -> None:
        """What a request says of itself is known whatever is wrong with it."""
        dialect = GenerateDialect(settings(), 256)
        wrong = generate(stream=True, data_parallel_rank=9).SerializeToString()
        self.assertEqual(Named("poet", streamed=True), dialect.named(wrong, Head(model="poet")))
        self.assertEqual(Named(None, streamed=False), dialect.named(b"", evolve(HEAD, model="")))
