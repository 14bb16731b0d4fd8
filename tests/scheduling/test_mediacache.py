"""Which media have been read lately."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import RecordingMetrics
from tests.harness import RankTestCase
from vllmsim.inference import Span
from vllmsim.scheduling.mediacache import MediaCache


class MediaCacheTests(SynchronousTestCase):
    """What is found again."""

    def looks(self, size: float, *prompts: str) -> list[tuple[Any, ...]]:
        """Look up the media of prompts, a letter each, and tell how many there were and how many were known."""
        metrics = RecordingMetrics()
        self.cache = MediaCache(metrics, size)
        for letters in prompts:
            self.cache.look_up([Span(letter, 0, 1) for letter in letters])
        return [heard[1:] for heard in metrics.heard]

    def test_found(self) -> None:
        """An item is found from its second time on, also in one prompt."""
        self.assertEqual([(2, 0), (3, 2), (2, 1)], self.looks(4.0, "ab", "abc", "dd"))

    def test_size(self) -> None:
        """Of so many that they do not fit the least recently used are forgotten; each takes 16 MiB."""
        self.assertEqual([(2, 0), (1, 1), (1, 0), (1, 0)], self.looks(2 / 64, "ab", "a", "c", "b"))
        self.assertEqual([(1, 0), (1, 1)], self.looks(0.001, "a", "a"))

    def test_none(self) -> None:
        """Without a cache nothing is looked up."""
        self.assertEqual([], self.looks(0.0, "a", "a"))

    def test_bounded(self) -> None:
        """However large the cache would be, what is remembered has an end."""
        self.looks(1e9)
        for number in range(70_000):
            self.cache.look_up([Span(str(number), 0, 1)])
        self.assertEqual(65_536, len(self.cache._known))


class RankTests(RankTestCase):
    """What a server counts."""

    def counts(self) -> tuple[float, float]:
        """Read how many items were looked up and found."""
        queries, hits = (
            self.sample(f'vllm:mm_cache_{each}_total{{engine="0",model_name="Qwen/Qwen3-0.6B"}}')
            for each in ("queries", "hits")
        )
        return queries, hits

    def ask(self, *urls: str) -> None:
        """Send a message with images."""
        parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        self.post("/v1/chat/completions", {"messages": [{"role": "user", "content": parts}], "max_tokens": 1})

    def test_counted(self) -> None:
        """Images are found again wherever they are in a prompt, until the cache is emptied."""
        self.make_rank()
        self.ask("https://example.com/a", "https://example.com/b")
        self.assertEqual((2, 0), self.counts())
        self.ask("https://example.com/c", "https://example.com/a")
        self.chat()
        self.assertEqual((4, 1), self.counts())
        self.post("/reset_encoder_cache", b"")
        self.ask("https://example.com/a")
        self.post("/reset_mm_cache", b"")
        self.ask("https://example.com/a")
        self.assertEqual((6, 2), self.counts())

    def test_none(self) -> None:
        """Without a cache nothing is counted."""
        self.make_rank("--mm-processor-cache-gb", "0")
        self.ask("https://example.com/a")
        self.assertEqual((0, 0), self.counts())
