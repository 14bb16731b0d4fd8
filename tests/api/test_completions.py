"""The completion dialect, byte for byte."""

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.api.golden import EOS, HEAD, answer, normal, prompt, recorded, settings, written
from vllmsim.api.completions import CompletionDialect
from vllmsim.errors import InvalidRequest
from vllmsim.inference import Answer, InferenceRequest, TextPrompt, TokenizedPrompt, TokenPrompt

ABCD = answer(71, 72, 227, 73, 74, EOS)
USAGE = {"include_usage": True}

RECORDINGS: dict[str, tuple[dict[str, Any], list[Answer]]] = {
    "comp": ({"logprobs": 2}, [answer(71, 72, reason="length")]),
    "compstream": ({"stream": True, "stream_options": USAGE}, [ABCD]),
    "compstream_cont": (
        {"stream": True, "stream_options": {**USAGE, "continuous_usage_stats": True}},
        [answer(71, 72, reason="length")],
    ),
    "compstream_nousage_lp": (
        {"stream": True, "logprobs": 0, "return_token_ids": True},
        [answer(71, 72, reason="length")],
    ),
    "eos_comp_lp_stream": ({"stream": True, "logprobs": 0, "return_token_ids": True}, [answer(71, 72, EOS)]),
    "stoptok": ({"stop_token_ids": [73]}, [answer(71, 72, 73, stop=73, pieces=["a", "b", ""])]),
}
"""Requests, and the tokens with which vLLM answered them."""


class RecordingTests(SynchronousTestCase):
    """What vLLM sent."""

    def test_recordings(self) -> None:
        """Every kind of answer has vLLM's bytes: the same keys in the same order, and the same nulls."""
        for name, (fields, answers) in RECORDINGS.items():
            sent = written(CompletionDialect(settings()), {"prompt": "Hello", **fields}, [prompt([297, 332])], answers)
            self.assertEqual(normal(recorded(name)).rstrip(), normal(sent).rstrip(), name)


class AnswerTests(SynchronousTestCase):
    """Choices, echoes and log probabilities."""

    def whole(self, body: dict[str, Any], prompts: list[TokenizedPrompt], answers: list[Answer]) -> Any:
        """Write a whole answer."""
        return json.loads(written(CompletionDialect(settings()), body, prompts, answers))

    def test_choices(self) -> None:
        """Choices are numbered by prompt, then by repetition; each prompt is counted once."""
        answers = [answer(71, EOS), answer(72, EOS), answer(73, EOS), answer(74, EOS)]
        prompts = [prompt([1, 2]), prompt([3])]
        sent = self.whole({"prompt": ["x", "y"], "n": 2, "return_token_ids": True}, prompts, answers)
        self.assertEqual([(0, "a"), (1, "b"), (2, "c"), (3, "d")], [(c["index"], c["text"]) for c in sent["choices"]])
        self.assertEqual([[1, 2], [1, 2], [3], [3]], [c["prompt_token_ids"] for c in sent["choices"]])
        self.assertEqual(
            (3, 8, 11), tuple(sent["usage"][k] for k in ("prompt_tokens", "completion_tokens", "total_tokens"))
        )

    def test_echo(self) -> None:
        """An echo puts the prompt before the answer, in a stream into the first chunk."""
        tokens = TokenizedPrompt(TextPrompt("xy"), "xy", [7, 8], ["x", "y"])
        body = {"prompt": "xy", "echo": True, "logprobs": 0}
        sent = self.whole(body, [tokens], [answer(71, 72, reason="length")])
        [choice] = sent["choices"]
        self.assertEqual(("xyab", [0, 1, 2, 3], ["x", "y", "a", "b"]),
                         (choice["text"], choice["logprobs"]["text_offset"], choice["logprobs"]["tokens"]))  # fmt: skip
        streamed = written(
            CompletionDialect(settings()), {**body, "stream": True}, [tokens], [answer(71, 72, reason="length")]
        )
        first, second = (json.loads(part[6:])["choices"][0] for part in streamed.decode().split("\n\n")[:2])
        self.assertEqual(("xya", "b"), (first["text"], second["text"]))
        self.assertEqual([3], second["logprobs"]["text_offset"])

    def test_no_reasoning(self) -> None:
        """A completion does not reason, on a server that does neither: its tokens are not told apart."""
        dialect = CompletionDialect(settings(reasons=True))
        for fields in ({}, {"stream": True, "stream_options": {"include_usage": True}}):
            sent = written(dialect, {"prompt": "hi", **fields}, [prompt([1])], [answer(71, EOS)])
            self.assertNotIn(b"reasoning_tokens", sent)

    def test_echo_alone(self) -> None:
        """An echo of no tokens is the prompt alone; the engine has made a token, which counts."""
        tokens = TokenizedPrompt(TextPrompt("xy"), "xy", [7, 8], ["x", "y"])
        body = {"prompt": "xy", "echo": True, "max_tokens": 0, "logprobs": 1}
        sent = self.whole(body, [tokens], [answer(71, reason="length")])
        self.assertEqual(("xy", ["x", "y"]), (sent["choices"][0]["text"], sent["choices"][0]["logprobs"]["tokens"]))
        self.assertEqual(1, sent["usage"]["completion_tokens"])
        streamed = written(
            CompletionDialect(settings()), {**body, "stream": True}, [tokens], [answer(71, reason="length")]
        )
        self.assertEqual("xy", json.loads(streamed.decode().split("\n\n")[0][6:])["choices"][0]["text"])

    def test_prompt_logprobs(self) -> None:
        """Log probabilities of a prompt are in its choices."""
        sent = self.whole({"prompt": "x", "prompt_logprobs": 0}, [prompt([1, 2])], [answer(71, EOS)])
        self.assertEqual([None, ["2"]], [entry and list(entry) for entry in sent["choices"][0]["prompt_logprobs"]])


class ParseTests(SynchronousTestCase):
    """What a request becomes."""

    def parse(self, **fields: Any) -> InferenceRequest:
        """Read a request."""
        return CompletionDialect(settings()).parse(json.dumps(fields).encode(), HEAD).request

    def test_prompts(self) -> None:
        """A prompt has one of four forms."""
        self.assertEqual((TextPrompt("a"),), self.parse(prompt="a").prompts)
        self.assertEqual((TextPrompt("a"), TextPrompt("b")), self.parse(prompt=["a", "b"]).prompts)
        self.assertEqual((TokenPrompt((1, 2)),), self.parse(prompt=[1, 2]).prompts)
        self.assertEqual((TokenPrompt((1, 2)), TokenPrompt((3,))), self.parse(prompt=[[1, 2], [3]]).prompts)

    def test_no_prompt(self) -> None:
        """No prompt, an empty one, or too many of them are refused."""
        for fields, text in (
            ({}, "must be provided"),
            ({"prompt": ""}, "must be provided"),
            ({"prompt": ["a", ""]}, "must be provided"),
            ({"prompt": [[1], []]}, "must be provided"),
            ({"prompt": []}, "at least one prompt"),
            ({"prompt": ["x"] * 1025}, "At most 1024 prompts"),
            ({"prompt": [[1]] * 1025}, "At most 1024 prompts"),
        ):
            error = self.assertRaises(InvalidRequest, self.parse, **fields)
            self.assertEqual("prompt", error.param)
            self.assertIn(text, error.message)

    def test_embeddings(self) -> None:
        """Prompts as embeddings are refused, not ignored."""
        self.assertRaises(InvalidRequest, self.parse, prompt="a", prompt_embeds="x")

    def test_limit(self) -> None:
        """Without a limit, and with null, the limit is 16."""
        self.assertEqual([16, 16, 3], [self.parse(prompt="a", **f).sampling.max_tokens
                                       for f in ({}, {"max_tokens": None}, {"max_tokens": 3})])  # fmt: skip
