"""Subscribers over gRPC and over ZeroMQ know of the same blocks, whenever they come and whatever happens."""

import os
from random import Random
from typing import Any, Final

from tests.grpc.calling import Called
from tests.grpc.test_kvevents import SubscriptionTestCase
from tests.kvcache.known import KnownBlocks
from vllmsim.grpc.status import Code

_STEPS: Final = int(os.environ.get("VLLMSIM_KV_STEPS", "500"))
"""How much happens; 100,000 are an hour."""
_MOST: Final = 40
"""How many subscribe at the same time."""


class Blocks(KnownBlocks):
    """The blocks that there are, as far as one is told over either."""

    def read_grpc(self, batch: Any) -> dict[int, int]:
        """Learn what a batch over gRPC tells."""
        for event in batch.events:
            if event.HasField("cleared"):
                self.clear()
            self.add([block.block_hash % 2**64 for block in event.stored.blocks])
            for block in event.removed.block_hashes:
                self.remove(block % 2**64)
        return self.known


class KvEventsAtRandomTests(SubscriptionTestCase):
    """One rank with little room, whose clients do as they like."""

    def act(self, chance: Random) -> None:
        """Have something happen."""
        if chance.random() < 0.03:
            self.post(f"/reset_prefix_cache?reset_running_requests={chance.choice(('true', 'false'))}", b"")
        elif chance.random() < 0.8:
            first = 1000 * chance.randrange(6)
            body: dict[str, Any] = {
                "model": chance.choice(("m", "m", "poet")),
                "prompt": [*range(first, first + chance.choice((10, 33, 80, 200, 300)))],
                "max_tokens": chance.choice((1, 5, 40)),
                "n": chance.choice((1, 1, 1, 2)),
                "ignore_eos": True,
            }
            if chance.random() < 0.2:
                body["cache_salt"] = chance.choice("ab")
            exchange = self.post("/v1/completions", body)
            if chance.random() < 0.1:
                exchange.drop()

    def follow(self, start: int, called: Called, states: list[dict[int, int]]) -> int | None:
        """Read a subscription from its beginning, and find it to have known at each moment what it should.

        :return: the last batch that it has; None for a place that is gone.
        """
        messages = self.told(called)
        if called.code is not None:
            self.assertEqual((Code.OUT_OF_RANGE, []), (called.code, messages))
            return None
        told, last = Blocks(), -1
        for message in messages:
            number = message.sequence_number
            if last < 0 and start:
                self.assertIn(number, (start, start + 1))
                told.add(states[number - 1])
            elif last >= 0:
                self.assertEqual(last + 1, number)
            known, last = told.read_grpc(message), number
            snapshot = message.snapshot
            if not message.HasField("snapshot") or snapshot.index == snapshot.count - 1:
                self.assertEqual(states[number], known)
        return last

    def test_at_random(self) -> None:
        """Every subscriber knows at every batch what a subscriber over ZeroMQ knows, and misses none."""
        for seed, kept in enumerate(("5", "20", "10000")):
            chance = Random(seed)
            self.make(
                "--kv-cache-size", "60", "--max-model-len", "400", "--kv-events-replay-queue-size", kept,
                "--time-to-first-token", "50ms", "--inter-token-latency", "20ms", "--max-num-seqs", "8",
                "--enable-lora", "--lora-modules", "poet=/p", "--event-flush-interval", chance.choice(("0", "30ms")),
            )  # fmt: skip
            everything, states = Blocks(), list[dict[int, int]]()
            places = [(0, self.subscribe())]
            for step in range(_STEPS):
                if chance.random() < 0.2:
                    self.act(chance)
                self.clock.advance(chance.choice((0, 0.01, 0.1)))
                for _, payload, _ in self.published[0].batches[len(states) :]:
                    states.append(everything.read(payload))
                if chance.random() < 0.02:
                    start = max(0, chance.choice((0, len(states) - 1, len(states) - chance.randrange(1, 10))))
                    places.append((start, self.subscribe(start)))
                    if len(places) > _MOST:
                        places.pop(1)[1].stream.client.drop()
                if step % 100 == 99:
                    for start, called in places:
                        self.assertIn(self.follow(start, called, states), (None, len(states) - 1))
            self.assertIsNone(places[0][1].code)
            self.assertLess(_STEPS // 10, len(states))
