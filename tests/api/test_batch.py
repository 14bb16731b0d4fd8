"""Batches of conversations, byte for byte."""

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.api.golden import EOS, HEAD, answer, normal, prompt, recorded, settings, written
from tests.fakes import prefilled
from vllmsim.api.batch import BatchDialect
from vllmsim.errors import InferenceError, InvalidParameter, InvalidRequest, MalformedRequest, UnknownModel
from vllmsim.inference import Answer, Conversation, InferenceRequest, Media, Message

A, B = [{"role": "user", "content": "a"}], [{"role": "user", "content": "b"}]
TOOL = {"type": "function", "function": {"name": "f"}}


class AnswerTests(SynchronousTestCase):
    """One answer for all."""

    def write(self, fields: dict[str, Any], *answers: Answer, **more: Any) -> bytes:
        """Write the answer to two conversations."""
        asked = {"messages": [A, B], **fields}
        return written(BatchDialect(settings(**more)), asked, [prompt([1] * 14), prompt([2] * 16)], list(answers))

    def test_recording(self) -> None:
        """The answer has vLLM's bytes, but for the texts of its model."""
        the = Answer([5, 6], [" ", "The"], [" ", "The"], "length")
        self.assertEqual(normal(recorded("batch")), normal(self.write({"max_tokens": 2}, the, the)))

    def test_choices(self) -> None:
        """Each conversation has its own choice with what was asked for; what tells of one prompt is left out."""
        fields = {"logprobs": True, "return_token_ids": True, "prompt_logprobs": 0, "return_prompt_text": True}
        sent = json.loads(self.write(fields, answer(71, EOS), answer(72, reason="length")))
        self.assertEqual(
            [(0, "a", "stop", [71, EOS]), (1, "b", "length", [72])],
            [(c["index"], c["message"]["content"], c["finish_reason"], c["token_ids"]) for c in sent["choices"]],
        )
        self.assertEqual(["a", "<|im_end|>"], [each["token"] for each in sent["choices"][0]["logprobs"]["content"]])
        self.assertEqual([None] * 3, [sent[f"prompt_{name}"] for name in ("logprobs", "token_ids", "text")])

    def test_echo(self) -> None:
        """An echo is that of each conversation."""
        asked = {"echo": True, "add_generation_prompt": False, "continue_final_message": True}
        conversations = [[{"role": "assistant", "content": text}] for text in "xy"]
        dialect = BatchDialect(settings())
        call = dialect.parse(json.dumps({"messages": conversations, **asked}).encode(), HEAD)
        prompts = [prompt([1]), prompt([2])]
        given = [type(p)(asked, p.text, p.ids, p.texts) for p, asked in zip(prompts, call.request.prompts, strict=True)]
        sent = json.loads(call.whole_encoder().body(given, prefilled(given), [answer(71, EOS), answer(72, EOS)]))
        self.assertEqual(["xa", "yb"], [choice["message"]["content"] for choice in sent["choices"]])

    def test_details(self) -> None:
        """The usage has the details that the server shows."""
        sent = json.loads(self.write({}, answer(71, EOS), answer(72, EOS), reasons=True, prompt_tokens_details=True))
        self.assertEqual({"reasoning_tokens": 0}, sent["usage"]["completion_tokens_details"])
        self.assertEqual(0, sent["usage"]["prompt_tokens_details"]["cached_tokens"])


class ParseTests(SynchronousTestCase):
    """What a request becomes."""

    def parse(self, asked: Any, **more: Any) -> InferenceRequest:
        """Read a request."""
        return BatchDialect(settings(**more)).parse(json.dumps(asked).encode(), HEAD).request

    def test_prompts(self) -> None:
        """Every conversation is a prompt."""
        read = self.parse({"messages": [A, B], "max_tokens": 3, "n": 1})
        self.assertEqual((Conversation((Message("user", "a"),)), Conversation((Message("user", "b"),))), read.prompts)
        self.assertEqual((3, 1), (read.sampling.max_tokens, read.sampling.n))

    def test_refused(self) -> None:
        """Streams, tools, several choices and too many conversations are refused."""
        for fields, kind, text in (
            ({"n": 2}, InvalidParameter, "n must be 1"),
            ({"n": 0}, InvalidParameter, "n must be 1"),
            ({"stream": True}, InvalidParameter, "cannot be streamed"),
            ({"tools": [TOOL]}, InvalidParameter, "Tools"),
            ({"use_beam_search": True}, InvalidRequest, "Beam search"),
            ({"messages": [A] * 1025}, InvalidParameter, "At most 1024 conversations are allowed, got 1025."),
            ({"messages": []}, MalformedRequest, "'too_short'"),
            ({"messages": A}, MalformedRequest, "'loc': 'body.messages.0'"),
            ({"messages": [A, []]}, InvalidRequest, "empty conversation"),
            ({"messages": "x"}, MalformedRequest, "'list_type'"),
            ({"messages": [A], "model": "zzz"}, UnknownModel, "zzz"),
            ({"messages": [A], "chat_template": "x"}, InvalidRequest, "untrusted chat template"),
            ({"messages": [A], "top_logprobs": 2}, InvalidParameter, "top_logprobs"),
        ):
            error: InferenceError = self.assertRaises(kind, self.parse, {"messages": [A], **fields})
            self.assertIn(text, error.message)

    def test_media(self) -> None:
        """Images may be in every conversation, or in none."""
        image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}]
        [_, prompt] = self.parse({"messages": [A, image]}).prompts
        assert isinstance(prompt, Conversation)
        self.assertEqual((Media("image", "u"),), prompt.media)
        self.assertRaises(InvalidRequest, self.parse, {"messages": [A, image]}, multimodal=False)
