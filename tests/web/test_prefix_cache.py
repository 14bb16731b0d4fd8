"""Requests that find what others have computed, and those that must not."""

from typing import Any

from tests.harness import RankTestCase
from vllmsim.config.options.cache import HASH_ALGORITHMS

TEXT = " ".join(f"word{number}" for number in range(60))
OPTIONS = ("--enable-kvcache", "--zmq-endpoint", "", "--enable-prompt-tokens-details", "--max-model-len", "1024")


class PrefixCacheTests(RankTestCase):
    """What usage says of cached tokens."""

    def setUp(self) -> None:
        """Have a rank with a cache and two adapters."""
        self.make_rank(*OPTIONS, "--lora-modules", "ad1=/p", "ad2=/p")

    def cached(self, **fields: Any) -> int:
        """Ask for a completion, and tell how many tokens of its prompt were cached."""
        return self.found(self.complete(TEXT, **fields).json())

    def found(self, answer: Any) -> int:
        """Tell how many tokens of an answer's prompt were cached."""
        found: int = answer["usage"]["prompt_tokens_details"]["cached_tokens"]
        return found

    def pictured(self, source: str) -> dict[str, Any]:
        """Make a chat request with a picture whose data is not in the text."""
        image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{source}"}}
        content = [image, {"type": "text", "text": TEXT}]
        return {"messages": [{"role": "user", "content": content}], "max_tokens": 2}

    def test_algorithms(self) -> None:
        """A prompt is found again, however its blocks are hashed."""
        for name in HASH_ALGORITHMS:
            self.make_rank(*OPTIONS, "--prefix-caching-hash-algo", name)
            self.assertEqual([0, 48], [self.cached(), self.cached()], name)

    def test_salts(self) -> None:
        """Those with the same salt share blocks, and nobody else does."""
        self.assertEqual([0, 0, 0], [self.cached(), self.cached(cache_salt="a"), self.cached(cache_salt="b")])
        self.assertEqual([48, 48, 48], [self.cached(), self.cached(cache_salt="a"), self.cached(cache_salt="b")])

    def test_adapters(self) -> None:
        """Adapters share blocks neither with the base model nor with each other."""
        self.assertEqual([0, 0, 0], [self.cached(), self.cached(model="ad1"), self.cached(model="ad2")])
        self.assertEqual([48, 48, 48], [self.cached(), self.cached(model="ad1"), self.cached(model="ad2")])

    def test_short(self) -> None:
        """A salt counts for a prompt that is shorter than a block, and whose block the answer fills."""
        for salt in ("a", "b"):
            fields = {"max_tokens": 30, "seed": 1, "ignore_eos": True, "return_token_ids": True}
            first = self.complete("a b c d", cache_salt=salt, **fields).json()
            choice = first["choices"][0]
            ids = choice["prompt_token_ids"] + choice["token_ids"]
            again = [self.complete(ids, cache_salt=each, max_tokens=1).json() for each in (salt, "c" + salt)]
            self.assertEqual([32, 0], list(map(self.found, again)))

    def test_pictures(self) -> None:
        """A chat with the same picture finds what one with another picture does not."""
        answers = [self.post("/v1/chat/completions", self.pictured(each)).json() for each in ("AAAA", "BBBB", "AAAA")]
        length = answers[0]["usage"]["prompt_tokens"]
        self.assertEqual([length] * 3, [each["usage"]["prompt_tokens"] for each in answers])
        self.assertEqual([0, 0, (length - 1) // 16 * 16], list(map(self.found, answers)))

    def test_rendered(self) -> None:
        """A rendered request finds the blocks of the one that it was made of, pictures, salt, adapter, cut and all."""
        self.make_rank(*OPTIONS, "--tokens-only", "--lora-modules", "ad1=/p")
        for fields in ({}, {"cache_salt": "s"}, {"model": "ad1"}, {"truncate_prompt_tokens": 40}):
            asked = {**self.pictured("AAAA"), **fields}
            rendered = self.post("/v1/chat/completions/render", asked).json()
            self.assertEqual(0, self.found(self.post("/inference/v1/generate", rendered).json()))
            expected = (len(rendered["token_ids"]) - 1) // 16 * 16
            self.assertEqual(expected, self.found(self.post("/inference/v1/generate", rendered).json()))
            self.assertEqual(expected, self.found(self.post("/v1/chat/completions", asked).json()))

    def test_probabilities(self) -> None:
        """A request for the log probabilities of its prompt finds nothing, and is found."""
        self.assertEqual([0, 0], [self.cached(prompt_logprobs=1), self.cached(prompt_logprobs=1)])
        self.assertEqual([48, 0], [self.cached(), self.cached(echo=True, logprobs=1)])
