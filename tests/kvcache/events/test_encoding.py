"""What a batch of KV events looks like on the wire.

Batches are read as their readers do: with structs laid out as vLLM documents them, which know nothing of our encoder.
"""

from typing import Any

import msgpack
import msgspec
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.blockevents import BlockEvent
from vllmsim.inference import Adapter, StoredBlocks
from vllmsim.kvcache.events.encoding import BatchEncoder

HASH = 3556222695259344277
DIGEST = bytes(24) + HASH.to_bytes(8, "big")
NEXT = bytes(range(32))
NEXT_HASH = 0x18191A1B1C1D1E1F
TIME = 1700000000.5
LORA = Adapter("lora1", "/p", "m", 1)
BLOCK = StoredBlocks([DIGEST], None, range(1, 9), [None])
TWO = StoredBlocks(
    [DIGEST, NEXT], NEXT, tuple(range(16)), [("lora1", "salty"), ("lora1", ("image", 3), ("image", -5))], LORA
)

# From the original's analysis: a batch of one event, then events alone.
GO_BATCH = (
    "93cb41d954fc402000009199ab426c6f636b53746f72656491cf315a3db31d1d8d95cf000000000000000098ce00000001ce00000002"
    "ce00000003ce00000004ce00000005ce00000006ce00000007ce0000000808c0a3475055c0c000"
)
GO_LORA = (
    "99ab426c6f636b53746f72656491cf315a3db31d1d8d95cf000000000000000098ce00000001ce00000002ce00000003ce00000004"
    "ce00000005ce00000006ce00000007ce000000080801a3475055a56c6f726131c0"
)
GO_REMOVED = "93ac426c6f636b52656d6f76656491cf315a3db31d1d8d95a3475055"
GO_CLEARED = "91b0416c6c426c6f636b73436c6561726564"
GO_MAP = (
    "86a474797065ab426c6f636b53746f726564ac626c6f636b5f68617368657391cf315a3db31d1d8d95b1706172656e745f626c6f636b"
    "5f68617368c0a9746f6b656e5f69647398ce00000001ce00000002ce00000003ce00000004ce00000005ce00000006ce00000007ce00000008"
    "aa626c6f636b5f73697a6508a66d656469756da3475055"
)


class ArrayEvent(msgspec.Struct, array_like=True, omit_defaults=True, gc=False, tag=True):
    """An event as vLLM wrote it until 0.22."""


class MapEvent(msgspec.Struct, omit_defaults=True, gc=False, tag=True):
    """An event as vLLM writes it."""


class ArrayStored(ArrayEvent, tag="BlockStored"):
    """Blocks that can be found."""

    block_hashes: list[int | bytes]
    parent_block_hash: int | bytes | None
    token_ids: list[int]
    block_size: int
    lora_id: int | None
    medium: str | None
    lora_name: str | None
    extra_keys: list[list[Any] | None] | None = None
    group_idx: int | None = None


class ArrayRemoved(ArrayEvent, tag="BlockRemoved"):
    """Blocks that are gone."""

    block_hashes: list[int | bytes]
    medium: str | None
    group_idx: int | None = None


class ArrayCleared(ArrayEvent, tag="AllBlocksCleared"):
    """Nothing is left."""


class MapStored(MapEvent, tag="BlockStored"):
    """Blocks that can be found."""

    block_hashes: list[int | bytes]
    parent_block_hash: int | bytes | None
    token_ids: list[int]
    block_size: int
    lora_id: int | None
    medium: str | None
    lora_name: str | None
    extra_keys: list[list[Any] | None] | None = None
    group_idx: int | None = None
    kv_cache_spec_kind: str | None = None
    kv_cache_spec_sliding_window: int | None = None


class MapRemoved(MapEvent, tag="BlockRemoved"):
    """Blocks that are gone."""

    block_hashes: list[int | bytes]
    medium: str | None
    group_idx: int | None = None


class MapCleared(MapEvent, tag="AllBlocksCleared"):
    """Nothing is left."""


class ArrayBatch(msgspec.Struct, array_like=True, omit_defaults=True, gc=False):
    """A batch of arrays."""

    ts: float
    events: list[ArrayStored | ArrayRemoved | ArrayCleared]
    data_parallel_rank: int | None = None


class MapBatch(msgspec.Struct, array_like=True, omit_defaults=True, gc=False):
    """A batch of maps."""

    ts: float
    events: list[MapStored | MapRemoved | MapCleared]
    data_parallel_rank: int | None = None


def written(event: BlockEvent, block_size: int = 8, **how: bool) -> Any:
    """Write an event, and read it as msgpack."""
    [read] = msgpack.unpackb(BatchEncoder(0, block_size, **how).encode(TIME, [event]))[1]
    return read


class ArrayTests(SynchronousTestCase):
    """Events as arrays."""

    def test_original(self) -> None:
        """Arrays are those of llm-d-inference-sim, but for the parent of a first block: nil, as in vLLM, and not 0."""
        expected = msgpack.unpackb(bytes.fromhex(GO_BATCH))
        self.assertEqual(0, expected[1][0][2])
        expected[1][0][2] = None
        self.assertEqual(expected, msgpack.unpackb(BatchEncoder(0, 8).encode(TIME, [BLOCK])))
        lora = msgpack.unpackb(bytes.fromhex(GO_LORA))
        lora[2] = None
        self.assertEqual(lora, written(StoredBlocks([DIGEST], None, range(1, 9), [None], LORA)))
        self.assertEqual(msgpack.unpackb(bytes.fromhex(GO_REMOVED)), written(DIGEST))
        self.assertEqual(msgpack.unpackb(bytes.fromhex(GO_CLEARED)), written(None))

    def test_struct(self) -> None:
        """Structs that are laid out as vLLM's were read every event, with keys, adapter and parent."""
        payload = BatchEncoder(3, 8).encode(TIME, [BLOCK, TWO, NEXT, None])
        expected = ArrayBatch(
            TIME,
            [
                ArrayStored([HASH], None, list(range(1, 9)), 8, None, "GPU", None),
                ArrayStored(
                    [HASH, NEXT_HASH],
                    NEXT_HASH,
                    list(range(16)),
                    8,
                    1,
                    "GPU",
                    "lora1",
                    [["lora1", "salty"], ["lora1", ["image", 3], ["image", -5]]],
                ),
                ArrayRemoved([NEXT_HASH], "GPU"),
                ArrayCleared(),
            ],
            3,
        )
        self.assertEqual(expected, msgspec.msgpack.decode(payload, type=ArrayBatch))

    def test_some_keys(self) -> None:
        """When some block has keys, every block has its place among them."""
        blocks = StoredBlocks([DIGEST, NEXT], None, range(16), [("salt",), None])
        self.assertEqual([["salt"], None], written(blocks)[8])


class MapTests(SynchronousTestCase):
    """Events as maps."""

    def test_original(self) -> None:
        """A map has all that llm-d-inference-sim writes, and what vLLM has beyond that."""
        expected = msgpack.unpackb(bytes.fromhex(GO_MAP))
        event = written(BLOCK, maps=True)
        self.assertEqual(expected, {key: event[key] for key in expected})

    def test_members(self) -> None:
        """Members are vLLM's, in its order; those that say nothing are there if vLLM has them."""
        expected: dict[str, Any] = {
            "type": "BlockStored",
            "block_hashes": [HASH],
            "parent_block_hash": None,
            "token_ids": list(range(1, 9)),
            "block_size": 8,
            "lora_id": None,
            "medium": "GPU",
            "lora_name": None,
            "extra_keys": [None],
            "group_idx": 0,
            "kv_cache_spec_kind": "full_attention",
        }
        self.assertEqual(list(expected.items()), list(written(BLOCK, maps=True).items()))
        expected = {"type": "BlockRemoved", "block_hashes": [HASH], "medium": "GPU", "group_idx": 0}
        self.assertEqual(list(expected.items()), list(written(DIGEST, maps=True).items()))
        self.assertEqual({"type": "AllBlocksCleared"}, written(None, maps=True))

    def test_struct(self) -> None:
        """Structs that are laid out as vLLM's read every event, with keys, adapter and parent."""
        payload = BatchEncoder(0, 8, maps=True).encode(TIME, [TWO, NEXT, None])
        expected = MapBatch(
            TIME,
            [
                MapStored(
                    [HASH, NEXT_HASH],
                    NEXT_HASH,
                    list(range(16)),
                    8,
                    1,
                    "GPU",
                    "lora1",
                    [["lora1", "salty"], ["lora1", ["image", 3], ["image", -5]]],
                    0,
                    "full_attention",
                ),
                MapRemoved([NEXT_HASH], "GPU", 0),
                MapCleared(),
            ],
            0,
        )
        self.assertEqual(expected, msgspec.msgpack.decode(payload, type=MapBatch))


class HashTests(SynchronousTestCase):
    """How hashes are told."""

    def test_unsigned(self) -> None:
        """A hash is never negative: it takes 64 bits without a sign."""
        digest = bytes(24) + b"\xff" * 8
        self.assertEqual([2**64 - 1], written(digest)[1])

    def test_short(self) -> None:
        """A digest of 64 bits is told whole."""
        self.assertEqual([HASH], written(HASH.to_bytes(8, "big"))[1])

    def test_whole(self) -> None:
        """Whole digests are told as bytes, the parent's too."""
        stored = written(TWO, int_hashes=False)
        self.assertEqual(([DIGEST, NEXT], NEXT), (stored[1], stored[2]))
        self.assertEqual([NEXT], written(NEXT, maps=True, int_hashes=False)["block_hashes"])


class BatchTests(SynchronousTestCase):
    """The batch around events."""

    def test_time(self) -> None:
        """The time is a double, whatever it is; the rank is there without data parallelism too."""
        payload = BatchEncoder(0, 8).encode(2, [])
        self.assertEqual(bytes.fromhex("93cb4000000000000000" + "90" + "00"), payload)

    def test_bad_text(self) -> None:
        """A salt that is no text of Unicode spoils nobody's events."""
        blocks = StoredBlocks([DIGEST], None, range(8), [("\ud800x",)])
        self.assertEqual([["?x"]], written(blocks)[8])
