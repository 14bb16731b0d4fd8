"""KV events as subscribers over gRPC are told of them."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgpack
from smg_grpc_proto.generated import common_pb2 as pb
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.engine import kvevents
from vllmsim.api.engine.kvevents import KvEventWriter
from vllmsim.blockevents import BlockEvent, BlockPicture, EventBatch
from vllmsim.inference import Adapter, StoredBlocks
from vllmsim.kvcache.events.decoding import decode
from vllmsim.kvcache.events.encoding import BatchEncoder
from vllmsim.kvcache.events.standing import StandingBlocks

SIZE = 2
HIGH = bytes(24) + (2**64 - 3).to_bytes(8, "big")
LOW = bytes(range(24)) + (5).to_bytes(8, "big")
TOP = bytes(24) + (2**63).to_bytes(8, "big")
LORA = Adapter("poet", "/p", "m", 3)


def digest(number: int) -> bytes:
    """Make a hash."""
    return number.to_bytes(8, "big")


def line(*numbers: int, parent: int | None = None, keys: Sequence[Any] = (), lora: Adapter | None = None) -> Any:
    """Make blocks that go on with each other."""
    ids = [each for number in numbers for each in (number, number + 1)]
    all_keys = [*keys, *[None] * (len(numbers) - len(keys))]
    return StoredBlocks([*map(digest, numbers)], None if parent is None else digest(parent), ids, all_keys, lora)


class KvEventWriterTests(SynchronousTestCase):
    """What each message says."""

    def setUp(self) -> None:
        """Begin a subscription."""
        self.writer = KvEventWriter()

    def write(self, *events: BlockEvent, sequence: int = 4, size: int = SIZE) -> pb.KvEventBatch:
        """Write a batch, send it, and read it as a client does."""
        sent = self.writer.batch(1, size, EventBatch(sequence, 7.25, events)).SerializeToString()
        return pb.KvEventBatch.FromString(sent)

    def test_batch(self) -> None:
        """A batch has its number, time and rank; events are numbered through the subscription."""
        first = self.write(LOW, None)
        self.assertEqual((4, 7.25, 1), (first.sequence_number, first.timestamp, first.dp_rank))
        self.assertEqual([1, 2], [event.event_id for event in first.events])
        second = self.write(sequence=5)
        self.assertEqual((5, []), (second.sequence_number, [*second.events]))
        self.assertEqual([3], [event.event_id for event in self.write(LOW, sequence=6).events])
        self.assertFalse(first.HasField("load") or first.HasField("snapshot"))

    def test_stored(self) -> None:
        """Stored blocks have their hashes, with a sign, and their tokens, and say where they are."""
        [event] = self.write(StoredBlocks([HIGH, LOW], TOP, (1, 2, 3, 2**32 - 1), [None, None])).events
        stored = event.stored
        block = pb.KvBlock
        expected = [
            block(block_hash=-3, token_ids=[1, 2], block_size=2),
            block(block_hash=5, token_ids=[3, 2**32 - 1], block_size=2),
        ]
        self.assertEqual(expected, [*stored.blocks])
        self.assertEqual(-(2**63), stored.parent_block_hash)
        self.assertEqual((pb.KV_CACHE_TIER_DEVICE, "GPU"), (stored.tier, stored.medium))
        self.assertEqual((0, "full_attention"), (stored.group_idx, stored.kv_cache_spec_kind))
        self.assertTrue(stored.HasField("group_idx"))
        self.assertEqual(pb.KV_CACHE_LOCALITY_LOCAL, stored.locality)
        for name in ("lora_name", "cache_salt", "ownership", "session_id", "kv_cache_spec_sliding_window"):
            self.assertFalse(stored.HasField(name))

    def test_first(self) -> None:
        """The first blocks of a sequence have no parent; nobody's number is 0 for that."""
        [event] = self.write(line(10)).events
        self.assertFalse(event.stored.HasField("parent_block_hash"))
        self.assertFalse(event.stored.blocks[0].HasField("lora_id") or event.stored.blocks[0].HasField("cache_level"))
        [event] = self.write(line(10, parent=0)).events
        self.assertEqual((True, 0), (event.stored.HasField("parent_block_hash"), event.stored.parent_block_hash))

    def test_removed(self) -> None:
        """A block that is gone is named by its hash, and by where it was."""
        [event] = self.write(HIGH).events
        removed = event.removed
        self.assertEqual([-3], [*removed.block_hashes])
        where = removed.tier, removed.medium, removed.group_idx, removed.locality
        self.assertEqual((pb.KV_CACHE_TIER_DEVICE, "GPU", 0, pb.KV_CACHE_LOCALITY_LOCAL), where)
        self.assertFalse(removed.HasField("cache_level"))

    def test_cleared(self) -> None:
        """When all are gone, that is an event of its own."""
        [event] = self.write(None).events
        self.assertEqual("cleared", event.WhichOneof("data"))

    def test_adapter(self) -> None:
        """Blocks of an adapter have its number, and all together its name."""
        [event] = self.write(line(10, 12, keys=[("poet",), ("poet",)], lora=LORA)).events
        self.assertEqual([3, 3], [block.lora_id for block in event.stored.blocks])
        self.assertEqual("poet", event.stored.lora_name)
        self.assertFalse(event.stored.HasField("cache_salt"))

    def test_keys(self) -> None:
        """What was hashed beside the tokens keeps its kind."""
        [event] = self.write(
            line(10, 12, 14, keys=[("poet", "salty"), None, (["id", -5], b"\xff", 7)], lora=LORA)
        ).events
        first, second, third = event.stored.blocks
        self.assertEqual(["poet", "salty"], [key.text for key in first.extra_keys])
        self.assertEqual([], [*second.extra_keys])
        media, blob, number = third.extra_keys
        self.assertEqual(("id", -5), (media.multimodal.identifier, media.multimodal.offset))
        self.assertEqual((b"\xff", 7), (blob.blob, number.number))

    def salt(self, *blocks: StoredBlocks) -> list[str | None]:
        """Tell the salts of events."""
        events = [event.stored for event in self.write(*blocks).events]
        return [stored.cache_salt if stored.HasField("cache_salt") else None for stored in events]

    def test_salt(self) -> None:
        """All that goes on with a salted block has its salt, also when others were told in between."""
        self.assertEqual(["salty"], self.salt(line(10, 12, keys=[("poet", "salty")], lora=LORA)))
        self.assertEqual([None, "salty", None], self.salt(line(20), line(14, parent=12), line(22, parent=20)))
        self.assertEqual(["salty", None], self.salt(line(16, parent=14), line(30, parent=31)))

    def test_media_are_no_salt(self) -> None:
        """A picture, or the adapter's own name, is no salt."""
        keys = [("poet", ["salty", 0])]
        self.assertEqual([None, None], self.salt(line(10, keys=keys, lora=LORA), line(12, parent=10)))

    def test_salts_are_bounded(self) -> None:
        """Only the salts of the last blocks are remembered."""
        self.patch(kvevents, "_MOST_SALTED", 4)
        self.salt(line(10, 12, 14, keys=[("salty",)]))
        self.salt(line(20, 22, keys=[("peppery",)]))
        self.assertEqual(
            [None, "salty", "peppery"], self.salt(line(1, parent=10), line(2, parent=12), line(3, parent=22))
        )

    def test_salts_stay(self) -> None:
        """A block that is told again is one of the last."""
        self.patch(kvevents, "_MOST_SALTED", 4)
        self.salt(line(10, 12, 14, keys=[("salty",)]))
        self.salt(line(10, keys=[("salty",)]), line(20, 22, keys=[("peppery",)]))
        self.assertEqual(["salty", None], self.salt(line(1, parent=10), line(2, parent=12)))

    def test_zmq(self) -> None:
        """What subscribers of ZeroMQ read is the same, but for the sign of hashes."""
        stored = StoredBlocks([HIGH, LOW], TOP, [1, 2, 3, 4], [("poet", "salty"), ("poet", ("id", 1))], LORA)
        for maps in (False, True):
            payload = BatchEncoder(1, SIZE, maps).encode(7.25, [stored, HIGH, None])
            time, events, rank = msgpack.unpackb(payload)
            told = self.writer.batch(1, SIZE, decode(payload, 4))
            self.assertEqual((time, rank, len(events)), (told.timestamp, told.dp_rank, len(told.events)))
            event = events[0]
            hashes, parent, ids, size, number, medium, name, keys = (
                [event[key] for key in list(event)[1:9]] if maps else event[1:]
            )
            over_grpc = told.events[0].stored
            self.assertEqual(hashes, [block.block_hash % 2**64 for block in over_grpc.blocks])
            self.assertEqual(parent, over_grpc.parent_block_hash % 2**64)
            self.assertEqual(ids, [each for block in over_grpc.blocks for each in block.token_ids])
            self.assertEqual({(size, number)}, {(block.block_size, block.lora_id) for block in over_grpc.blocks})
            self.assertEqual((medium, name), (over_grpc.medium, over_grpc.lora_name))
            self.assertEqual(keys, [[self.key(key) for key in block.extra_keys] for block in over_grpc.blocks])
            removed = events[1]["block_hashes"] if maps else events[1][1]
            self.assertEqual(removed, [each % 2**64 for each in told.events[1].removed.block_hashes])

    def key(self, key: pb.KvBlockExtraKey) -> Any:
        """Tell a key as it is over ZeroMQ."""
        pair = key.multimodal
        return [pair.identifier, pair.offset] if key.WhichOneof("key") == "multimodal" else key.text


class PictureTests(SynchronousTestCase):
    """Which blocks there are, told to who comes late."""

    def setUp(self) -> None:
        """Know no blocks."""
        self.standing = StandingBlocks(SIZE)
        self.writer = KvEventWriter()

    def write(self, sequence: int, unknown: int = 0, most_tokens: int = 8) -> list[pb.KvEventBatch]:
        """Tell all blocks."""
        self.patch(kvevents, "_MOST_TOKENS", most_tokens)
        parts = self.writer.picture(3, SIZE, 7.25, self.standing.picture(sequence, unknown))
        assert isinstance(parts, Iterator)
        return [pb.KvEventBatch.FromString(part.SerializeToString()) for part in parts]

    def test_parts(self) -> None:
        """The parts' numbers end at the last batch that is in them, and the first begins with nothing."""
        self.standing.fold([line(*range(10, 30, 2))])
        parts = self.write(9, 2)
        self.assertEqual([7, 8, 9], [part.sequence_number for part in parts])
        self.assertEqual([(0, 3, 10, 2), (1, 3, 10, 2), (2, 3, 10, 2)], [self.place(part) for part in parts])
        self.assertEqual({(3, 7.25)}, {(part.dp_rank, part.timestamp) for part in parts})
        kinds = [[event.WhichOneof("data") for event in part.events] for part in parts]
        self.assertEqual([["cleared", "stored"], ["stored"], ["stored"]], kinds)
        self.assertEqual({0}, {event.event_id for part in parts for event in part.events})
        told = [block.block_hash for part in parts for event in part.events for block in event.stored.blocks]
        self.assertEqual([*range(10, 30, 2)], told)
        self.assertEqual([16, 24], [part.events[0].stored.parent_block_hash for part in parts[1:]])

    def place(self, part: pb.KvEventBatch) -> tuple[int, int, int, int]:
        """Tell what a part says of itself."""
        snapshot = part.snapshot
        return snapshot.index, snapshot.count, snapshot.blocks, snapshot.unknown_before

    def test_empty(self) -> None:
        """That there are no blocks is told too."""
        [part] = self.write(4, 5)
        self.assertEqual((4, (0, 1, 0, 5)), (part.sequence_number, self.place(part)))
        self.assertEqual(["cleared"], [event.WhichOneof("data") for event in part.events])

    def test_few_batches(self) -> None:
        """There are no more parts than batches before them: none has a number below 0."""
        self.standing.fold([line(*range(10, 210, 2))])
        parts = self.write(1)
        self.assertEqual([0, 1], [part.sequence_number for part in parts])
        self.assertEqual([50, 50], [len(part.events[-1].stored.blocks) for part in parts])

    def test_lines(self) -> None:
        """Blocks that go on with each other are one event; copies, other lines and other adapters are others."""
        self.standing.fold([line(10, 12, keys=[("salty",)]), line(12, parent=10), line(14, parent=12)])
        self.standing.fold([line(20, lora=LORA), line(22, parent=20, lora=LORA), line(30)])
        [part] = self.write(9, most_tokens=100)
        told = [[block.block_hash for block in event.stored.blocks] for event in part.events]
        self.assertEqual([[], [10, 12], [12, 14], [20, 22], [30]], told)
        salts = [event.stored.cache_salt for event in part.events]
        self.assertEqual(["", "salty", "salty", "", ""], salts)
        self.assertEqual(["", "", "", "poet", ""], [event.stored.lora_name for event in part.events])

    def test_reloaded(self) -> None:
        """Blocks of an adapter that was loaded anew have its new number."""
        self.standing.fold([line(20, lora=LORA), line(22, parent=20, lora=Adapter("poet", "/p", "m", 4))])
        [part] = self.write(9, most_tokens=100)
        self.assertEqual([[], [3], [4]], [[each.lora_id for each in event.stored.blocks] for event in part.events])

    def test_nothing_is_told_twice(self) -> None:
        """What a picture holds is gone through as it is sent."""
        picture = BlockPicture(9, 3, 0, iter([line(10), line(12, parent=10), line(14, parent=12)]))
        parts = KvEventWriter().picture(0, SIZE, 7.25, picture)
        self.patch(kvevents, "_MOST_TOKENS", 2)
        self.assertEqual([7, 8, 9], [part.sequence_number for part in parts])
