"""Faults 48 to 58: the KV cache and what is told of it."""

import math

from tests.harness import RankTestCase
from tests.kvcache.recording import RecordingPublisher
from vllmsim.config.events import event_settings


class CacheTests(RankTestCase):
    """A rank with a KV cache."""

    def test_same_id(self) -> None:
        """48: Requests of one id are served side by side, and what ends first takes no blocks from the other."""
        self.make_rank("m", "--enable-kvcache", "--zmq-endpoint", "", "--inter-token-latency", "100ms")
        usage = 'vllm:kv_cache_usage_perc{engine="0",model_name="m"}'
        short, long = (
            self.complete([*range(40)], max_tokens=count, ignore_eos=True, stream=True, request_id="same", n=2)
            for count in (2, 9)
        )
        self.clock.pump([0.1] * 3)
        self.assertTrue(short.complete)
        self.assertGreater(self.sample(usage), 0)
        self.clock.pump([0.1] * 9)
        self.assertEqual((200, True, "[DONE]"), (long.status, long.complete, long.events()[-1]))
        self.assertEqual(0, self.sample(usage))

    def test_no_number(self) -> None:
        """50: No metric is ever something else than a number, whether there is a cache or not, used or not."""
        for words in ((), ("--enable-kvcache", "--zmq-endpoint", ""), ("--enable-kvcache", "--kv-cache-size", "2")):
            self.make_rank("m", *words)
            for _ in range(2):
                values = [
                    line.split()[-1] for line in self.get("/metrics").body.decode().splitlines() if line[0] != "#"
                ]
                self.assertEqual([], [value for value in values if not math.isfinite(float(value))])
                self.complete("x " * 40)
                self.post("/reset_prefix_cache", b"")

    def test_one_name(self) -> None:
        """54: Topics and hashes have one name, the first that is served: who reads the topic can hash prompts."""
        topic, hashes = self.told("m")
        self.assertEqual("kv@localhost:8000@m", topic)
        self.assertEqual((topic, hashes), self.told("weights", "--served-model-name", "m", "alias"))
        other, others = self.told("weights")
        self.assertEqual(("kv@localhost:8000@weights", False), (other, hashes == others))

    def told(self, *words: str) -> tuple[str, list[int]]:
        """Tell under which topic a rank publishes, and the hashes of a prompt's blocks."""
        rank = self.make_rank(*words, "--enable-kvcache", "--prefix-caching-hash-algo", "fnv64_cbor")
        settings = event_settings(self.configuration, 0)
        assert settings is not None
        assert rank.events is not None
        publisher = RecordingPublisher()
        rank.events.batcher._publishers = [publisher]
        self.complete([*range(40)], max_tokens=1)
        self.clock.advance(1)
        [[stored]] = publisher.read()
        return settings.topic, stored[1]
