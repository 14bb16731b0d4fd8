"""A load generator with the model's own tokenizer counts what usage says: ``make clients``.

It does what ``vllm bench serve`` does: prompts of a wanted length are made of random tokens, answers are asked for with
``ignore_eos`` and streamed with usage, and the tokens of what comes are counted by transformers.
"""

import importlib.util
import random
from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI

from tests.integration.daemon import DaemonTestCase
from vllmsim.assembly.tokenizing import BUILTIN

needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="transformers is not installed"
)


@needs_transformers
class LoadClientTests(DaemonTestCase):
    """Counts on both sides, with one tokenizer."""

    words = ("--model", BUILTIN, "--served-model-name", "m", "--max-model-len", "4096", "--seed", "3")

    def setUp(self) -> None:
        """Have the client, and its tokenizer."""
        from transformers import AutoTokenizer  # noqa: PLC0415

        self.tokenizer: Any = AutoTokenizer.from_pretrained(BUILTIN)
        self.client = OpenAI(base_url=self.daemon.url("/v1"), api_key="none", max_retries=0)
        self.addCleanup(self.client.close)

    def prompts(self, length: int, count: int) -> Iterator[str]:
        """Make texts of about so many tokens."""
        generator = random.Random(length)
        for _ in range(count):
            ids = [generator.randrange(256, 8176) for _ in range(length)]
            yield self.tokenizer.decode(self.tokenizer(self.tokenizer.decode(ids)).input_ids[:length])

    def count(self, text: str) -> int:
        """Count the tokens of a text."""
        return len(self.tokenizer(text, add_special_tokens=False).input_ids)

    def test_completions(self) -> None:
        """Prompts, answers and chunks are as many tokens as usage says."""
        for prompt in self.prompts(128, 20):
            chunks = list(
                self.client.completions.create(
                    model="m",
                    prompt=prompt,
                    max_tokens=64,
                    stream=True,
                    stream_options={"include_usage": True},
                    extra_body={"ignore_eos": True},
                )
            )
            usage = chunks[-1].usage
            assert usage is not None
            said = "".join(choice.text for chunk in chunks for choice in chunk.choices)
            self.assertEqual((self.count(prompt), 64), (usage.prompt_tokens, usage.completion_tokens))
            # An answer that is cut in a word may end with other tokens.
            self.assertLessEqual(abs(self.count(said) - 64), 1)
            self.assertEqual(64, len([chunk for chunk in chunks if chunk.choices]))

    def test_chats(self) -> None:
        """The prompt of a chat is what the model's chat template makes of it."""
        for prompt in self.prompts(64, 20):
            messages: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": prompt}]
            answer = self.client.chat.completions.create(
                model="m", messages=messages, max_tokens=400, extra_body={"return_token_ids": True}
            )
            text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            assert answer.usage is not None
            said = answer.choices[0].message.content or ""
            self.assertEqual(self.count(text), answer.usage.prompt_tokens)
            ended = answer.choices[0].finish_reason == "stop"
            self.assertLessEqual(abs(self.count(said) + ended - answer.usage.completion_tokens), 1)
            ids = answer.choices[0].model_extra["token_ids"]  # type: ignore[index]
            self.assertEqual(said, self.tokenizer.decode(ids, skip_special_tokens=True))
