"""What a whole rank tells others about its blocks."""

from typing import Any

import msgpack
from twisted.internet.defer import Deferred

from tests.harness import EPOCH, RankTestCase
from tests.kvcache.recording import RecordingPublisher

BLOCK = 16


class RankEventTests(RankTestCase):
    """A rank with a KV cache, and one who takes its batches."""

    def make(self, *words: str) -> RecordingPublisher:
        """Build a rank."""
        rank = self.make_rank("--model", "m", "--enable-kvcache", *words)
        publisher = RecordingPublisher()
        assert rank.events is not None
        rank.events.batcher._publishers = [publisher]
        return publisher

    def ask(self, *ids: int, **fields: Any) -> None:
        """Have token ids completed."""
        answer = self.complete(list(ids), **{"max_tokens": 1, **fields})
        self.assertEqual(200, answer.status, answer.body)

    def test_stored(self) -> None:
        """Full blocks of a prompt are one event; those that are known are not told again."""
        publisher = self.make()
        self.ask(*range(1, 40))
        self.assertEqual([], publisher.batches)
        self.clock.advance(0.01)
        time, [stored], rank = msgpack.unpackb(publisher.batches[0][1])
        self.assertEqual((EPOCH, 0), (time, rank))
        kind, hashes, *rest = stored
        # The hash of the tokens 1 to 16 as vLLM makes it.
        self.assertEqual(("BlockStored", 1403909460543360175, 2), (kind, hashes[0], len(hashes)))
        self.assertEqual([None, [*range(1, 33)], BLOCK, None, "GPU", None, None], rest)
        publisher.read()
        self.ask(*range(1, 60))
        self.clock.advance(0.01)
        [[again]] = publisher.read()
        self.assertEqual((1, hashes[1], [*range(33, 49)]), (len(again[1]), again[2], again[3]))

    def test_answer(self) -> None:
        """Blocks that an answer fills are told as they become full, each behind the one before."""
        publisher = self.make("--inter-token-latency", "100ms")
        slow = self.post(
            "/v1/completions", {"model": "m", "prompt": [*range(20)], "max_tokens": 40, "ignore_eos": True}
        )
        self.clock.advance(0.01)
        hashes = [event[1] for batch in publisher.read() for event in batch]
        for _ in range(400):
            self.clock.advance(0.01)
        events = [event for batch in publisher.read() for event in batch]
        self.assertEqual([1, 1], [len(event[1]) for event in events])
        self.assertEqual([hashes[0][0], events[0][1][0]], [event[2] for event in events])
        self.assertEqual(200, slow.status)

    def test_adapter(self) -> None:
        """Blocks of an adapter have its name and number, and salts come beside them."""
        publisher = self.make("--enable-lora", "--lora-modules", "ad1=/p", "--use-vllm-map-event-format")
        self.ask(*range(40), model="ad1", cache_salt="salty")
        self.clock.advance(0.01)
        [[stored]] = publisher.read()
        self.assertEqual((1, "ad1"), (stored["lora_id"], stored["lora_name"]))
        self.assertEqual([["ad1", "salty"], ["ad1"]], stored["extra_keys"])

    def test_removed(self) -> None:
        """A block that others get is told before what comes into it; when all are forgotten, that is told."""
        publisher = self.make("--kv-cache-size", "4", "--server-dev-mode")
        self.ask(*range(40))
        self.ask(*range(100, 140))
        self.assertEqual(200, self.post("/reset_prefix_cache", b"").status)
        self.clock.advance(0.01)
        [events] = publisher.read()
        kinds = [event[0] for event in events]
        self.assertEqual(["BlockStored", "BlockRemoved", "BlockRemoved", "BlockStored", "AllBlocksCleared"], kinds)
        self.assertEqual({*events[0][1]}, {events[1][1][0], events[2][1][0]})

    def test_step(self) -> None:
        """In vLLM's form all that had to go for a prompt is in one batch with what was stored."""
        config = '{"enable_kv_cache_events":true,"endpoint":"tcp://epp:1"}'
        publisher = self.make("--kv-cache-size", "101", "--max-model-len", "1600", "--kv-events-config", config)
        for first in (0, 2000):
            self.ask(*range(first, first + 1599))
            self.clock.advance(0.01)
        stored, [*removed, new] = publisher.read()
        self.assertEqual(["BlockStored"], [event["type"] for event in stored])
        self.assertEqual({"BlockRemoved"}, {event["type"] for event in removed})
        self.assertEqual(stored[0]["block_hashes"][::-1], [event["block_hashes"][0] for event in removed])
        self.assertEqual("BlockStored", new["type"])

    def test_counted(self) -> None:
        """The metrics tell how many events and batches there were."""
        self.make("--event-batch-size", "2")
        for first in range(0, 300, 100):
            self.ask(*range(first, first + 20))
        self.clock.advance(0.01)
        own = '{engine="0",model_name="m"}'
        self.assertEqual(3, self.sample(f"vllmsim:kv_events_total{own}"))
        self.assertEqual(2, self.sample(f"vllmsim:kv_event_batches_total{own}"))

    def test_end(self) -> None:
        """What waits when the rank stops leaves."""
        self.addCleanup(lambda: self.assertEqual(1, len(publisher.batches)))
        publisher = self.make("--event-flush-interval", "1h")
        self.ask(*range(20))

    def test_none(self) -> None:
        """Without prefix caching, with events off, or with neither an endpoint nor gRPC, nobody is told anything."""
        off = ["--kv-events-config", '{"enable_kv_cache_events": false}']
        silent = ["--no-enable-prefix-caching"], off, ["--kv-events-publisher", "null"]
        for words in (*silent, ["--zmq-endpoint", "", "--no-grpc"]):
            rank = self.make_rank("--enable-kvcache", *words)
            self.assertIsNone(rank.events)

    def test_unpublished(self) -> None:
        """Without an endpoint, nothing leaves the process, and nothing is written as long as nobody reads in it."""
        rank = self.make_rank("--enable-kvcache", "--zmq-endpoint", "")
        self.ask(*range(40))
        assert rank.events is not None
        self.assertIsNone(rank.events.outlet)
        self.assertEqual({}, self.get("/kv_event_sources").json())
        self.assertEqual(0, self.sample('vllmsim:kv_events_total{engine="0",model_name="Qwen/Qwen3-0.6B"}'))
        rank.events.open()
        self.successResultOf(Deferred.fromCoroutine(rank.events.close()))
