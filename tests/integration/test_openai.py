"""The official OpenAI SDK against the daemon."""

import json
from typing import Any

import openai
from openai.types.chat import ChatCompletionChunk

from tests.integration.daemon import DaemonTestCase

HI: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "one two three"}]


class OpenAITests(DaemonTestCase):
    """What the SDK makes of the answers."""

    words = ("--model", "m", "--served-model-name", "m1", "m2", "--mode", "echo", "--inter-token-latency", "1ms")

    def setUp(self) -> None:
        """Have a client that does not retry."""
        self.client = openai.OpenAI(base_url=self.daemon.url("/v1"), api_key="x", max_retries=0)
        self.addCleanup(self.client.close)

    def test_models(self) -> None:
        """The served names are listed."""
        self.assertEqual(["m1", "m2"], [model.id for model in self.client.models.list()])

    def test_chat(self) -> None:
        """A whole answer is typed."""
        answer = self.client.chat.completions.create(model="m2", messages=HI)
        self.assertEqual(
            ("one two three", "stop"), (answer.choices[0].message.content, answer.choices[0].finish_reason)
        )
        assert answer.usage is not None
        self.assertEqual(4, answer.usage.completion_tokens)
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + 4)
        self.assertEqual("m1", answer.model)

    def test_stream(self) -> None:
        """A stream's deltas joined are the answer."""
        chunks = list(self.client.chat.completions.create(model="m1", messages=HI, stream=True))
        self.assertEqual("assistant", chunks[0].choices[0].delta.role)
        self.assertEqual("one two three", "".join(chunk.choices[0].delta.content or "" for chunk in chunks))
        self.assertEqual("stop", chunks[-1].choices[0].finish_reason)
        self.assertEqual([None] * len(chunks), [chunk.usage for chunk in chunks])

    def test_stream_with_usage(self) -> None:
        """A stream with usage has it in a last chunk without choices."""
        chunks: list[ChatCompletionChunk] = list(
            self.client.chat.completions.create(
                model="m1", messages=HI, stream=True, stream_options={"include_usage": True}
            )
        )
        usage = chunks[-1].usage
        assert usage is not None
        self.assertEqual(([], 4), (chunks[-1].choices, usage.completion_tokens))

    def test_completions(self) -> None:
        """A list of prompts has a choice for each."""
        answer = self.client.completions.create(model="m1", prompt=["a b", "c", "d"])
        self.assertEqual(["a b", "c", "d"], [choice.text for choice in answer.choices])
        self.assertEqual([0, 1, 2], [choice.index for choice in answer.choices])

    def test_many_choices(self) -> None:
        """Three choices have three answers, streamed too."""
        answer = self.client.chat.completions.create(model="m1", messages=HI, n=3)
        self.assertEqual(["one two three"] * 3, [choice.message.content for choice in answer.choices])
        texts = ["", "", ""]
        for chunk in self.client.chat.completions.create(model="m1", messages=HI, n=3, stream=True):
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
        self.assertEqual(["one two three"] * 3, texts)

    def test_stop(self) -> None:
        """A stop text ends the answer."""
        answer = self.client.chat.completions.create(model="m1", messages=HI, stop=[" three"], max_tokens=50)
        self.assertEqual(("one two", "stop"), (answer.choices[0].message.content, answer.choices[0].finish_reason))

    def test_logprobs(self) -> None:
        """Log probabilities are typed."""
        answer = self.client.chat.completions.create(model="m1", messages=HI, logprobs=True, top_logprobs=2)
        logprobs = answer.choices[0].logprobs
        assert logprobs is not None
        assert logprobs.content is not None
        self.assertEqual(["one ", "two ", "three", "<|im_end|>"], [entry.token for entry in logprobs.content])
        self.assertEqual(2, len(logprobs.content[0].top_logprobs))

    def test_any_text(self) -> None:
        """Text of any script comes back to the byte."""
        text = '  Grüße, 漢字 и 🙂👍🏽 `code` | \t\x0b \\ " \u2028 end'
        messages: Any = [{"role": "user", "content": text}]
        stream = self.client.chat.completions.create(model="m1", messages=messages, stream=True)
        self.assertEqual(text, "".join(chunk.choices[0].delta.content or "" for chunk in stream))

    def test_unknown_model(self) -> None:
        """An unknown model is the SDK's NotFoundError."""
        with self.assertRaises(openai.NotFoundError) as caught:
            self.client.chat.completions.create(model="zzz", messages=HI)
        self.assertIn("`zzz` does not exist", caught.exception.message)
        self.assertEqual("model", caught.exception.param)

    def test_bad_type(self) -> None:
        """A field of a wrong type is the SDK's BadRequestError."""
        hot: Any = "hot"
        with self.assertRaises(openai.BadRequestError) as caught:
            self.client.chat.completions.create(model="m1", messages=HI, temperature=hot)
        self.assertEqual("body.temperature", caught.exception.param)

    def test_hang_up(self) -> None:
        """A stream that is closed early leaves nothing running."""
        stream = self.client.chat.completions.create(
            model="m1", messages=HI, stream=True, max_tokens=900, extra_body={"ignore_eos": True}
        )
        next(iter(stream))
        stream.close()
        metrics = ""
        for _ in range(100):
            metrics = self.daemon.get("/metrics").decode()
            if 'vllm:num_requests_running{engine="0",model_name="m1"} 0.0' in metrics:
                return
        self.fail(json.dumps([line for line in metrics.splitlines() if "running" in line]))
