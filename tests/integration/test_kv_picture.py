"""What a subscriber knows at every step: hash by hash what is in the pool, in the middle of answers too."""

import random
from collections import Counter
from typing import Any

from tests.harness import Exchange, RankTestCase
from tests.integration.kv_hashes import Sha256Cbor
from tests.integration.kv_subscriber import BlockHash, Picture
from vllmsim.kvcache.events.window import ReplayWindow

ADAPTERS = {"ad1": "/adapters/one"}
BLOCK = 8
PACE = 0.005


class PictureTests(RankTestCase):
    """A rank in memory; batches are read where they would be asked for once more."""

    def start(self, *words: str, maps: bool) -> None:
        """Build a rank with a small cache, and somebody who knows nothing of it yet."""
        usual = f"""
            --enable-kvcache --kv-cache-size 60 --block-size {BLOCK} --prefix-caching-hash-algo sha256_cbor
            --zmq-endpoint inproc://live --kv-events-replay-endpoint inproc://replay --kv-events-replay-queue-size 90000
            --event-flush-interval 0 --inter-token-latency {PACE * 1000}ms --time-to-first-token {PACE * 1000}ms
            --enable-lora --lora-modules ad1={ADAPTERS["ad1"]} --max-num-seqs 4
        """
        self.make_rank(*usual.split(), *words)
        assert self.rank.events is not None
        window = self.rank.events.batcher._publishers[0]
        assert isinstance(window, ReplayWindow)
        self.window = window
        self.picture = Picture(maps=maps, check=Sha256Cbor(ADAPTERS).check)
        self.generator = random.Random(3)

    def told(self) -> Counter[BlockHash]:
        """Read what was published since, and tell what is known."""
        for number in range(self.picture.next, self.window.end):
            self.picture.take(number, self.window.payload(number))
        return self.picture.blocks

    def there(self) -> Counter[BlockHash]:
        """Look into the pool."""
        cache: Any = self.rank.control._cache
        return Counter(int.from_bytes(digest[-8:], "big") for digest in cache._pool._digests if digest)

    def step(self, seconds: float) -> None:
        """Let time go by, and compare."""
        self.clock.advance(seconds)
        # What becomes due in a turn is published in the next.
        self.clock.advance(0)
        self.assertEqual(self.there(), self.told())

    def ask(self) -> Exchange:
        """Begin an answer to a prompt that starts like others."""
        generator = self.generator
        family = generator.randrange(4)
        ids = [family * 1000 + number for number in range(generator.choice([8, 16, 40, 64]))]
        ids += [generator.randrange(5000) for _ in range(generator.choice([0, 0, 1, 7, 8, 30]))]
        fields: dict[str, Any] = {"max_tokens": generator.choice([1, 9, 30]), "ignore_eos": True}
        if family == 2:
            fields["model"] = "ad1"
        if family == 3:
            fields["cache_salt"] = generator.choice(["salty", "sweet"])
        return self.complete(ids, **fields)

    def run_load(self) -> None:
        """Have answers overlap, end, be given up and be forgotten."""
        running: list[Exchange] = []
        for number in range(600):
            running = [exchange for exchange in running if not exchange.complete]
            if len(running) < 4:
                running.append(self.ask())
            self.step(self.generator.choice([0, PACE, PACE, 3 * PACE]))
            if self.generator.random() < 0.05 and running:
                running.pop().drop()
                self.step(0)
            if number % 100 == 50:
                running_too = "true" if number % 200 == 50 else "false"
                self.post(f"/reset_prefix_cache?reset_running_requests={running_too}", {})
                self.step(0)
            if number == 300:
                self.post("/v1/unload_lora_adapter", {"lora_name": "ad1"})
                path = ADAPTERS["ad1"]
                self.post("/v1/load_lora_adapter", {"lora_name": "ad1", "lora_path": path})
                self.step(0)
        for _ in range(100):
            self.step(PACE)
        self.assertGreater(self.picture.kinds["BlockRemoved"], 300)
        self.assertGreater(self.picture.kinds["BlockStored"], 300)
        self.assertGreaterEqual(self.picture.kinds["AllBlocksCleared"], 3)
        self.assertEqual(0.0, self.sample('vllm:kv_cache_usage_perc{engine="0",model_name="Qwen/Qwen3-0.6B"}'))

    def test_arrays(self) -> None:
        """At every step, also between the tokens of answers, arrays tell exactly what the pool has."""
        self.start(maps=False)
        self.run_load()

    def test_maps(self) -> None:
        """So do maps."""
        self.start("--use-vllm-map-event-format", maps=True)
        self.run_load()
