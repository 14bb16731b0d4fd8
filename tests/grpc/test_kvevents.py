"""What subscribers over gRPC are told of a rank's KV blocks, and of what it has to do."""

from collections.abc import Sequence
from typing import Any

import msgpack
from h2.settings import SettingCodes
from smg_grpc_proto.generated import common_pb2 as pb
from twisted.internet.task import deferLater

from tests.grpc.calling import Called, call
from tests.harness import EPOCH, RankTestCase
from tests.kvcache.recording import RecordingPublisher
from vllmsim import turns
from vllmsim.api.engine.kvevents import KvEventWriter
from vllmsim.grpc import kvevents
from vllmsim.grpc.status import Code
from vllmsim.loads import LoadFigures
from vllmsim.rank import Rank

PATH = "/vllm.grpc.engine.VllmEngine/SubscribeKvEvents"


class SubscriptionTestCase(RankTestCase):
    """Ranks with a KV cache, whose blocks have 16 tokens, and prompts of token ids."""

    def make(self, *words: str) -> Rank:
        """Build a rank that publishes every batch at once, and remember what it publishes."""
        words = ("--model", "m", "--enable-kvcache", "--event-flush-interval", "0", *words)
        ranks = self.make_ranks(*words)
        self.published = []
        for rank in ranks:
            if rank.events is not None and rank.events.outlet is not None:
                self.published.append(RecordingPublisher())
                rank.events.batcher.join(self.published[-1])
        return ranks[0]

    def subscribe(self, start: int = 0, *, early: bool = False, **options: Any) -> Called:
        """Subscribe on a connection of its own."""
        request = pb.SubscribeKvEventsRequest(start_sequence_number=start, load_records_before_first_batch=early)
        return call(self.connect_http2(**options), PATH, pb.KvEventBatch, request)

    def told(self, called: Called) -> list[pb.KvEventBatch]:
        """Read the batches that have events, or might have had some."""
        called.stream.client.pump()
        return [batch for batch in called.messages if not batch.load.load_only]

    def ask(self, tokens: int, first: int = 1, **fields: Any) -> None:
        """Have token ids in their order completed."""
        body = {"model": "m", "prompt": list(range(first, first + tokens)), "max_tokens": 1, **fields}
        answer = self.post("/v1/completions", body)
        self.assertEqual(200, answer.status, answer.body)
        self.clock.advance(0)

    def stored(self, *batches: pb.KvEventBatch) -> list[int]:
        """List the hashes of stored blocks, as they are over ZeroMQ."""
        events = [event for batch in batches for event in batch.events]
        return [block.block_hash % 2**64 for event in events for block in event.stored.blocks]

    def assertEnded(self, code: Code, text: str, called: Called) -> None:
        """Find a subscription to have ended."""
        called.stream.client.pump()
        self.assertEqual((code, True), (called.code, called.stream.ended))
        self.assertIn(text, called.text)


class SubscribeKvEventsTests(SubscriptionTestCase):
    """One rank."""

    def test_head(self) -> None:
        """A subscriber has an answer at once, also when nothing happens."""
        self.make()
        called = self.subscribe()
        self.assertEqual((200, "application/grpc"), (called.stream.status, called.metadata["content-type"]))
        self.assertEqual(([], None), (called.messages, called.code))

    def test_same(self) -> None:
        """Subscribers of gRPC and of ZeroMQ see the same batches, under the same numbers."""
        self.make()
        called = self.subscribe()
        self.ask(40)
        self.ask(70)
        self.ask(70, 1000, cache_salt="salty")
        batches = self.told(called)
        published = self.published[0].batches
        self.assertEqual([0, 1, 2], [batch.sequence_number for batch in batches])
        self.assertEqual([sequence for sequence, _, _ in published], [batch.sequence_number for batch in batches])
        for batch, (_, payload, count) in zip(batches, published, strict=True):
            time, events, rank = msgpack.unpackb(payload)
            self.assertEqual((EPOCH, rank, count), (batch.timestamp, batch.dp_rank, len(batch.events)))
            self.assertEqual(time, batch.timestamp)
            self.assertEqual([each for event in events for each in event[1]], self.stored(batch))
        # The hash of the tokens 1 to 16 as vLLM makes it.
        self.assertEqual(1403909460543360175, self.stored(batches[0])[0])
        self.assertEqual([1, 2, 3], [event.event_id for batch in batches for event in batch.events])
        self.assertEqual("salty", batches[2].events[0].stored.cache_salt)

    def test_unpublished(self) -> None:
        """Without an endpoint for ZeroMQ there are events all the same, from the first subscription on."""
        self.make("--zmq-endpoint", "")
        self.ask(40)
        called = self.subscribe()
        self.ask(40, 100)
        picture, batch = self.told(called)
        self.assertEqual((0, 0, 1), (picture.sequence_number, picture.snapshot.blocks, picture.snapshot.unknown_before))
        self.assertEqual((1, 2), (batch.sequence_number, len(self.stored(batch))))

    def test_off(self) -> None:
        """Where events are off, subscribers are told how a vLLM would have some."""
        off = ["--no-enable-prefix-caching"], ["--kv-events-config", '{"enable_kv_cache_events": false}']
        for words in (*off, ["--kv-events-publisher", "null"]):
            self.make(*words)
            called = self.subscribe()
            self.assertEnded(
                Code.UNIMPLEMENTED, "KV cache events not enabled. Start vLLM with --kv-events-config", called
            )
            self.assertEqual([], called.messages)

    def test_removed(self) -> None:
        """Blocks that are needed for others are told as gone before these."""
        self.make("--kv-cache-size", "5", "--max-model-len", "64")
        called = self.subscribe()
        self.ask(50)
        self.ask(50, 1000)
        first, second = self.told(called)
        removed = [each % 2**64 for event in second.events for each in event.removed.block_hashes]
        self.assertEqual(sorted(self.stored(first)), sorted(removed))
        self.assertEqual("stored", second.events[-1].WhichOneof("data"))

    def test_cleared(self) -> None:
        """That the cache is emptied is told."""
        self.make("--server-dev-mode")
        called = self.subscribe()
        self.ask(40)
        self.assertEqual(200, self.post("/reset_prefix_cache", {}).status)
        self.clock.advance(0)
        _, batch = self.told(called)
        self.assertEqual(["cleared"], [event.WhichOneof("data") for event in batch.events])

    def test_adapter(self) -> None:
        """Blocks of an adapter name it."""
        self.make("--lora-modules", "poet=/p")
        called = self.subscribe()
        self.ask(40, model="poet")
        [batch] = self.told(called)
        stored = batch.events[0].stored
        self.assertEqual(("poet", [1, 1]), (stored.lora_name, [block.lora_id for block in stored.blocks]))
        self.assertEqual([["poet"]] * 2, [[key.text for key in block.extra_keys] for block in stored.blocks])


class PlacesTests(SubscriptionTestCase):
    """Where a subscription begins."""

    def test_late(self) -> None:
        """Who comes later is told everything from the first batch on, while that is kept."""
        self.make()
        self.subscribe()
        self.ask(40)
        self.ask(40, 100)
        self.assertEqual([0, 1], [batch.sequence_number for batch in self.told(self.subscribe())])

    def test_resume(self) -> None:
        """Who comes back goes on where it wants."""
        self.make()
        first = self.subscribe()
        for each in range(1, 5):
            self.ask(40, 100 * each)
        all_batches = self.told(first)
        first.stream.cancel()
        again = self.subscribe(2)
        self.ask(40, 900)
        batches = self.told(again)
        self.assertEqual([2, 3, 4], [batch.sequence_number for batch in batches])
        self.assertEqual(self.stored(*all_batches[2:]), self.stored(*batches[:2]))
        self.assertEqual([4], [batch.sequence_number for batch in self.told(self.subscribe(4))])

    def test_beyond(self) -> None:
        """A number that is not there yet is that of a server that was before this one."""
        self.make()
        self.subscribe()
        self.ask(40)
        for number in (1, 2**64 - 1):
            called = self.subscribe(number)
            self.assertEnded(Code.OUT_OF_RANGE, f"{number} is beyond the last sequence number, 0", called)
            self.assertEqual([], called.messages)

    def test_gone(self) -> None:
        """Where the batch behind is not kept any more, nobody can go on; who has all before the first that is, can."""
        self.make("--kv-events-replay-queue-size", "2")
        self.subscribe()
        for each in range(1, 6):
            self.ask(40, 100 * each)
        text = "the history begins at 3, and what follows on 1 is gone"
        self.assertEnded(Code.OUT_OF_RANGE, text, self.subscribe(1))
        self.assertEqual([3, 4], [batch.sequence_number for batch in self.told(self.subscribe(2))])

    def test_picture(self) -> None:
        """Who comes when the first batches are gone is told which blocks there are, and then what follows."""
        self.make("--kv-events-replay-queue-size", "2")
        all_batches = self.subscribe()
        for each in range(1, 6):
            self.ask(40, 100 * each)
        late = self.subscribe()
        self.ask(40, 900)
        picture, *batches = self.told(late)
        snapshot = picture.snapshot
        self.assertEqual((4, 0, 1, 10, 0), (picture.sequence_number, *self.place(snapshot), snapshot.unknown_before))
        self.assertEqual([5], [batch.sequence_number for batch in batches])
        self.assertEqual(self.stored(*self.told(all_batches)), self.stored(picture, *batches))
        self.assertEqual("cleared", picture.events[0].WhichOneof("data"))

    def test_picture_of_a_busy_server(self) -> None:
        """Who is told which blocks there are has time to read that: what follows is kept as long as anything is."""
        self.make("--kv-events-replay-queue-size", "4")
        first = self.subscribe()
        for each in range(1, 8):
            self.ask(40, 100 * each)
        late = self.subscribe(reads=False, settings={SettingCodes.INITIAL_WINDOW_SIZE: 16})
        for each in range(8, 12):
            self.ask(40, 100 * each)
        self.assertEqual([], self.told(late))
        late.stream.client.h2.increment_flow_control_window(1 << 20, late.stream.number)
        late.stream.client.pump()
        self.clock.advance(0)
        picture, *batches = self.told(late)
        self.assertEqual((None, 6), (late.code, picture.sequence_number))
        self.assertEqual([7, 8, 9, 10], [batch.sequence_number for batch in batches])
        self.assertEqual(self.stored(*self.told(first)), self.stored(picture, *batches))

    def place(self, snapshot: pb.KvSnapshotChunk) -> tuple[int, int, int]:
        """Tell what part of which picture this is."""
        return snapshot.index, snapshot.count, snapshot.blocks

    def test_unknown(self) -> None:
        """The first subscriber of a server that has worked already is told how many batches nobody has kept."""
        self.make()
        self.ask(40)
        self.ask(40, 100)
        called = self.subscribe()
        self.ask(40, 200)
        picture, batch = self.told(called)
        self.assertEqual((1, 0, 2), (picture.sequence_number, picture.snapshot.blocks, picture.snapshot.unknown_before))
        self.assertEqual((2, 2), (batch.sequence_number, len(self.stored(batch))))

    def test_replay(self) -> None:
        """Where batches are kept to be asked for once more, the first subscriber has them too."""
        self.make("--kv-events-replay-endpoint", "tcp://*:5558")
        self.ask(40)
        self.ask(40, 100)
        self.assertEqual([0, 1], [batch.sequence_number for batch in self.told(self.subscribe())])


class PaceTests(SubscriptionTestCase):
    """How a subscriber reads."""

    def test_slow(self) -> None:
        """Who reads too slowly is told that it has lost some, and costs no memory until then."""
        self.make("--kv-events-replay-queue-size", "3", "--kv-cache-size", "5000", "--max-model-len", "4k")
        slow, fast = self.subscribe(reads=False), self.subscribe()
        for each in range(40):
            self.ask(1700, 10_000 * each)
            fast.stream.client.pump()
        # A client has room for 64 KiB at first.
        self.assertTrue(len(slow.stream.body) <= 1 << 16)
        slow.stream.client.h2.increment_flow_control_window(1 << 20)
        slow.stream.client.h2.increment_flow_control_window(1 << 20, slow.stream.number)
        self.assertEnded(Code.DATA_LOSS, "batches behind", slow)
        numbers = [batch.sequence_number for batch in self.told(slow)]
        self.assertEqual([*range(len(numbers))], numbers)
        self.assertEqual([*range(40)], [batch.sequence_number for batch in self.told(fast)])

    def test_many(self) -> None:
        """Where many subscribe, what takes time for each is not done for all of them in one turn."""
        self.make()
        subscribers = [self.subscribe() for _ in range(5)]
        self.clock.advance(0)
        write, waits = KvEventWriter.batch, []

        def slowly(*arguments: Any) -> Any:
            self.clock.rightNow += 0.003
            return write(*arguments)

        def wait(*arguments: Any) -> Any:
            waits.append(arguments)
            return deferLater(*arguments)

        self.patch(KvEventWriter, "batch", slowly)
        self.patch(turns, "deferLater", wait)
        self.ask(40)
        self.assertEqual([[0]] * 5, [[batch.sequence_number for batch in self.told(each)] for each in subscribers])
        # Each waits when it has worked; all but the first before, too.
        self.assertLessEqual(9, len(waits))

    def test_leaving(self) -> None:
        """Nothing is left of a subscriber who leaves, in whatever way."""
        self.patch(kvevents, "MOST_SUBSCRIPTIONS", 2)
        self.make()
        first, second = self.subscribe(), self.subscribe()
        self.assertEnded(Code.RESOURCE_EXHAUSTED, "there are 2 subscribers already", self.subscribe())
        first.stream.cancel()
        second.stream.client.drop()
        self.clock.advance(0)
        assert self.rank.events is not None
        self.assertEqual([], [*self.rank.events.logs()[0]._watchers])  # type: ignore[attr-defined]
        first, second = self.subscribe(), self.subscribe()
        self.ask(40)
        self.assertEqual([1, 1], [len(self.told(each)) for each in (first, second)])

    def test_deadline(self) -> None:
        """A subscription ends when its subscriber wants it to."""
        self.make()
        client = self.connect_http2()
        called = call(client, PATH, pb.KvEventBatch, pb.SubscribeKvEventsRequest(), grpc_timeout="2S")
        self.clock.advance(1.9)
        self.assertIsNone(called.code)
        self.clock.advance(0.2)
        self.assertEnded(Code.DEADLINE_EXCEEDED, "", called)

    def test_stop(self) -> None:
        """When the server shuts down, subscribers are told all there is, and then that it does."""
        rank = self.make("--event-flush-interval", "1h")
        called = self.subscribe()
        self.ask(40)
        self.assertEqual([], self.told(called))
        assert rank.events is not None
        rank.events.stop()
        self.assertEqual(2, len(self.stored(*self.told(called))))
        self.assertEnded(Code.UNAVAILABLE, "The server is shutting down.", called)


class LoadTests(SubscriptionTestCase):
    """How much the rank has to do."""

    def loads(self, called: Called) -> list[tuple[int, int, int, bool]]:
        """Tell the number of each batch, of its record, how many sequences run, and whether the record is alone."""
        called.stream.client.pump()
        loads = [(each.sequence_number, each.load) for each in called.messages]
        return [(number, load.sample, load.running_requests, load.load_only) for number, load in loads]

    def test_batches(self) -> None:
        """Each batch has what there is to do when it is sent; when that changes, it is told alone."""
        self.make("--time-to-first-token", "1550ms", "--max-num-seqs", "7")
        called = self.subscribe()
        self.post("/v1/completions", {"model": "m", "prompt": [*range(40)], "max_tokens": 1})
        self.clock.advance(0)
        self.assertEqual([(0, 1, 1, False)], self.loads(called))
        load = called.messages[0].load
        self.assertEqual(7, load.max_running_requests)
        self.assertAlmostEqual(3 / load.max_total_num_tokens * 16, load.token_usage, 3)
        for _ in range(20):
            self.clock.advance(0.1)
        self.assertEqual([(0, 1, 1, False), (0, 2, 1, True), (0, 3, 0, True)], self.loads(called)[:3])

    def test_shared(self) -> None:
        """A load is found out once for all subscribers, and again when it may be another."""
        self.make()
        told = [self.subscribe(early=True) for _ in range(3)]
        loads, asked = self.rank.loads(), []
        find = loads.figures

        def figures(rank: int) -> LoadFigures | None:
            asked.append(self.clock.seconds())
            return find(rank)

        self.patch(type(loads), "figures", staticmethod(figures))
        for _ in range(3):
            self.clock.advance(0.1)
        for each in told:
            each.stream.client.pump()
        self.assertEqual([1, 2, 3], [round(10 * time) for time in asked])

    def test_quiet(self) -> None:
        """A server that rests says so, more and more seldom."""
        self.make()
        called = self.subscribe(early=True)
        times = []
        for tenth in range(1, 130):
            before = len(self.loads(called))
            self.clock.advance(0.1)
            if len(self.loads(called)) > before:
                times.append(tenth)
        self.assertEqual([10, 20, 70, 120], times)
        self.assertEqual([(0, number, 0, True) for number in range(1, 6)], self.loads(called))
        self.assertEqual({EPOCH}, {batch.timestamp for batch in called.messages})

    def test_not_early(self) -> None:
        """Before the first batch who does not want records has none."""
        self.make()
        called = self.subscribe()
        for _ in range(30):
            self.clock.advance(0.1)
        self.assertEqual([], self.loads(called))


class SeveralRanksTests(SubscriptionTestCase):
    """Ranks that have one port, and ranks that have one each."""

    def make_two(self, *words: str) -> None:
        """Build two ranks."""
        self.make("--data-parallel-size", "2", *words)

    def ask_rank(self, rank: int, first: int) -> None:
        """Have a rank complete 40 tokens."""
        body = {"model": "m", "prompt": list(range(first, first + 40)), "max_tokens": 1}
        self.assertEqual(200, self.post("/v1/completions", body, X_data_parallel_rank=str(rank)).status)
        self.clock.advance(0)

    def order(self, batches: Sequence[pb.KvEventBatch]) -> list[tuple[int, int]]:
        """Tell whose each batch is, and its number."""
        return [(batch.dp_rank, batch.sequence_number) for batch in batches]

    def test_one_port(self) -> None:
        """One subscription has the batches of all ranks of a port, each with its own numbers."""
        self.make_two("--data-parallel-internal-lb")
        called = self.subscribe(early=True)
        for each, rank in enumerate([1, 1, 0, 1]):
            self.ask_rank(rank, 100 * each + 1)
        batches = self.told(called)
        self.assertEqual([(1, 0), (1, 1), (0, 0), (1, 2)], self.order(batches))
        self.assertEqual([1, 2, 3, 4], [event.event_id for batch in batches for event in batch.events])
        published = [len(publisher.batches) for publisher in self.published]
        self.assertEqual([1, 3], published)
        alone = [batch for batch in called.messages if batch.load.load_only]
        self.assertEqual([(0, 0), (1, 0)], self.order(alone[:2]))

    def test_no_place(self) -> None:
        """One number cannot say where to go on with several ranks."""
        self.make_two("--data-parallel-internal-lb")
        self.ask_rank(0, 1)
        self.assertEnded(Code.OUT_OF_RANGE, "each of 2 ranks has sequence numbers of its own", self.subscribe(1))

    def test_own_ports(self) -> None:
        """The port of one rank tells what becomes of its own blocks, and resumes."""
        self.make_two()
        called = self.subscribe()
        for each, rank in enumerate([1, 0, 0]):
            self.ask_rank(rank, 100 * each + 1)
        self.assertEqual([(0, 0), (0, 1)], self.order(self.told(called)))
        self.assertEqual([(0, 1)], self.order(self.told(self.subscribe(1))))
