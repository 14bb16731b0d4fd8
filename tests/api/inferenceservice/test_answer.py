"""How answers of vllm.Inference are written."""

from collections.abc import Iterator
from math import isnan
from typing import Any

from google.protobuf.json_format import MessageToDict
from twisted.trial.unittest import SynchronousTestCase

from tests.api.golden import EOS, answer, prompt, settings
from tests.fakes import prefilled
from vllmsim.api.body import Head
from vllmsim.api.frames import PREFIX
from vllmsim.api.inferenceservice.generate import InferenceDialect
from vllmsim.api.inferenceservice.messages import FinishInfo, GenerateRequest, GenerateResponse
from vllmsim.inference import NOT_CACHED, NOTHING_SAID, Answer

PROMPT = prompt([5, 6, 7], "hello")
HEAD = Head()


def unframed(data: bytes) -> Iterator[Any]:
    """Read the messages of an answer."""
    while data:
        compressed, length = PREFIX.unpack_from(data)
        assert not compressed
        yield GenerateResponse.FromString(data[PREFIX.size : PREFIX.size + length])
        data = data[PREFIX.size + length :]


def whole(*answers: Answer, **members: Any) -> Any:
    """Write an answer in one message."""
    dialect = InferenceDialect(settings(), 64, streams=False)
    call = dialect.parse(GenerateRequest(text="hello", **members).SerializeToString(), HEAD)
    (response,) = unframed(call.whole_encoder().body([PROMPT], prefilled([PROMPT]), answers))
    return response


def encoder(interval: int = 1, *, together: bool = False, **members: Any) -> Any:
    """Begin to write an answer in pieces."""
    dialect = InferenceDialect(settings(stream_interval=interval, together=together), 64, streams=True)
    call = dialect.parse(GenerateRequest(text="hello", **members).SerializeToString(), HEAD)
    assert call.stream_encoder is not None
    made = call.stream_encoder()
    assert made.opening([PROMPT], prefilled([PROMPT])) == b""
    return made


class WholeTests(SynchronousTestCase):
    """Answers in one message."""

    def test_usual(self) -> None:
        """An answer has its text, how many tokens it and the prompt have, and why it has ended; no token ids."""
        self.assertEqual(
            {
                "promptInfo": {"numPromptTokens": 3},
                "outputs": [
                    {
                        "text": "ab",
                        "numTokens": 3,
                        "finishInfo": {"numOutputTokens": 3, "finishReason": "STOP", "eosTokenId": EOS},
                    }
                ],
            },
            MessageToDict(whole(answer(71, 72, EOS))),
        )

    def test_ids(self) -> None:
        """Token ids of the prompt and of answers are there if they are asked for, and text is not if it is refused."""
        options = {"prompt_token_ids": True, "output_token_ids": True, "output_text": False}
        response = whole(answer(71, reason="length"), answer(72, 71, reason="length"), response=options)
        self.assertEqual([5, 6, 7], response.prompt_info.token_ids)
        self.assertEqual(
            [(0, "", [71]), (1, "", [72, 71])], [(each.index, each.text, each.token_ids) for each in response.outputs]
        )

    def test_logprobs(self) -> None:
        """Each token has its log probability and its rank; the first of the prompt has none."""
        options = {"prompt_logprobs": True, "output_logprobs": True}
        response = whole(answer(71, 72, 73, 74, reason="length"), response=options)
        first, *rest = response.prompt_info.logprobs
        self.assertTrue(isnan(first))
        self.assertEqual([-1.1, -1.2], [round(each, 6) for each in rest])
        self.assertEqual([0, 1, 1], response.prompt_info.ranks)
        (output,) = response.outputs
        self.assertEqual([-1.0, -1.1, -1.2, -1.0], [round(each, 6) for each in output.logprobs])
        self.assertEqual([1, 1, 1, 1], output.ranks)
        self.assertEqual([], list(output.candidate_tokens))

    def test_candidates(self) -> None:
        """Each token has as many candidates as are asked for, itself first; the last id is followed by the first."""
        response = whole(
            Answer((2**32 - 1,), ("x",), ("x",), "length"), response={"prompt_candidates": 1, "output_candidates": 3}
        )
        ((candidates,),) = (each.candidate_tokens for each in response.outputs)
        self.assertEqual([2**32 - 1, 0, 1], candidates.token_ids)
        self.assertEqual([-1.0, -1.5, -2.0], candidates.logprobs)
        self.assertEqual([1, 2, 3], candidates.ranks)
        self.assertEqual([[], [6], [7]], [each.token_ids for each in response.prompt_info.candidate_tokens])
        self.assertEqual([], list(response.outputs[0].logprobs))

    def test_finish(self) -> None:
        """An answer says why it has ended, and which token or text it was."""
        for said, expected in (
            (answer(71, reason="length"), (FinishInfo.LENGTH, None, None)),
            (answer(71, EOS), (FinishInfo.STOP, "eos_token_id", EOS)),
            (answer(71, stop=71), (FinishInfo.STOP, "stop_token_id", 71)),
            (answer(71, stop="a"), (FinishInfo.STOP, "stop_string", "a")),
            (answer(71).aborted(1), (FinishInfo.ABORTED, None, None)),
            (NOT_CACHED, (FinishInfo.ABORTED, None, None)),
        ):
            told = whole(said).outputs[0].finish_info
            kind = told.WhichOneof("stop_reason")
            self.assertEqual(expected, (told.finish_reason, kind, kind and getattr(told, kind)))

    def test_refused(self) -> None:
        """A prompt that was not computed has no log probabilities."""
        response = whole(NOT_CACHED, response={"prompt_logprobs": True, "prompt_candidates": 2})
        self.assertEqual({"numPromptTokens": 3}, MessageToDict(response.prompt_info))

    def test_handover(self) -> None:
        """A prefill server says where the prompt's blocks are; others do not, nor do aborted answers."""
        kv = {"kv_transfer_params": {"do_remote_decode": True}}
        told = whole(answer(71), request_id="r1", kv=kv).outputs[0].finish_info.kv_transfer_params
        self.assertEqual((True, "r1"), (told["do_remote_prefill"], told["remote_request_id"]))
        self.assertFalse(whole(answer(71)).outputs[0].finish_info.HasField("kv_transfer_params"))
        self.assertFalse(whole(NOTHING_SAID, kv=kv).outputs[0].finish_info.HasField("kv_transfer_params"))


class StreamTests(SynchronousTestCase):
    """Answers in pieces."""

    def test_tokens(self) -> None:
        """Each token has a message; the first tells of the prompt, and the last why the answer has ended."""
        made, said = encoder(response={"output_token_ids": True}), answer(71, 72, EOS)
        messages = [*unframed(made.tokens(0, said, 0, 1)), *unframed(made.tokens(0, said, 1, 3))]
        self.assertEqual([3, 0, 0], [each.prompt_info.num_prompt_tokens for each in messages])
        self.assertEqual([True, False, False], [each.HasField("prompt_info") for each in messages])
        outputs = [each.outputs[0] for each in messages]
        self.assertEqual([("a", [71]), ("b", [72]), ("", [EOS])], [(each.text, each.token_ids) for each in outputs])
        self.assertEqual([False, False, True], [each.HasField("finish_info") for each in outputs])
        self.assertEqual(3, outputs[-1].finish_info.num_output_tokens)
        self.assertEqual(b"", made.closing())

    def test_choices(self) -> None:
        """The prompt is told of once, whichever choice comes first."""
        made = encoder(sampling={"num_sequences": 2})
        messages = [
            each for choice in (1, 0) for each in unframed(made.tokens(choice, answer(71, reason="length"), 0, 1))
        ]
        self.assertEqual([(1, True), (0, False)], [(m.outputs[0].index, m.HasField("prompt_info")) for m in messages])

    def test_prepared(self) -> None:
        """What takes long to be told of the prompt is written before the first token, and told with that."""
        body = GenerateRequest(text="hello", response={"prompt_candidates": 2, "prompt_logprobs": True})
        call = InferenceDialect(settings(), 64, streams=True).parse(body.SerializeToString(), HEAD)
        assert call.stream_encoder is not None
        assert call.prepare is not None
        call.prepare([PROMPT])
        made = call.stream_encoder()
        # Whatever the prompt is said to be now, this is what was written.
        made.opening([prompt([9])], prefilled([PROMPT]))
        (message,) = unframed(made.tokens(0, answer(71), 0, 1))
        self.assertEqual([[], [6, 7], [7, 8]], [each.token_ids for each in message.prompt_info.candidate_tokens])
        self.assertEqual((3, "a"), (len(message.prompt_info.logprobs), message.outputs[0].text))

    def test_unprepared(self) -> None:
        """Who asks for no details of the prompt waits for none."""
        body = GenerateRequest(text="hello", response={"prompt_token_ids": True}).SerializeToString()
        self.assertIsNone(InferenceDialect(settings(), 64, streams=True).parse(body, HEAD).prepare)

    def test_interval(self) -> None:
        """Where tokens go together, the first goes alone, and the last with what is left."""
        made, said = encoder(interval=3), answer(71, 72, 73, 74, 71, 72, reason="length")
        messages = [each for token in range(6) for each in unframed(made.tokens(0, said, token, token + 1))]
        self.assertEqual(["a", "bcd", "ab"], [each.outputs[0].text for each in messages])
        self.assertEqual([1, 3, 2], [each.outputs[0].num_tokens for each in messages])

    def test_together(self) -> None:
        """What a step gives may go in one message."""
        made, said = encoder(together=True), answer(71, 72, 73, 74, 71, 72, reason="length")
        runs = [[*unframed(made.tokens(0, said, start, stop))] for start, stop in ((0, 1), (1, 4), (4, 6))]
        self.assertEqual([["a"], ["bcd"], ["ab"]], [[each.outputs[0].text for each in run] for run in runs])

    def test_aborted(self) -> None:
        """An answer that is ended says so in a message without tokens, or with those that were held back."""
        made, said = encoder(), answer(71, 72)
        made.tokens(0, said, 0, 1)
        (message,) = unframed(made.tokens(0, said.aborted(1), 1, 1))
        self.assertEqual(
            (0, FinishInfo.ABORTED), (message.outputs[0].num_tokens, message.outputs[0].finish_info.finish_reason)
        )
        (message,) = unframed(encoder().tokens(0, NOTHING_SAID, 0, 0))
        self.assertEqual((3, ""), (message.prompt_info.num_prompt_tokens, message.outputs[0].text))
        made = encoder(interval=4)
        made.tokens(0, said, 0, 2)
        (message,) = unframed(made.tokens(0, answer(71, 72, 73, 74).aborted(2), 2, 2))
        self.assertEqual(FinishInfo.ABORTED, message.outputs[0].finish_info.finish_reason)
