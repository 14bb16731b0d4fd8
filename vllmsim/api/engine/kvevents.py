# -*- test-case-name: tests.api.engine.test_kvevents -*-
"""KV events as ``SubscribeKvEvents`` of ``vllm.grpc.engine.VllmEngine`` tells them.

The answer is a row of ``KvEventBatch``, each of which has the batch that is published over ZeroMQ under the same
number: ``sequence_number``, ``timestamp``, ``dp_rank`` and the ``events``, which are numbered through the subscription
from 1. A hash is the same 64 bits, but signed: what is 2**63 or more over ZeroMQ is 2**64 less here.

``stored`` has a message for each block: its hash, its tokens and how many these are, the adapter's number, and
``extra_keys``, whose forms the message tells apart: names and salts are texts, media are pairs of an identifier and an
offset. Beside them it has what is common to all: the hash of the block before the first, the adapter's name, and the
cache's salt. That is among the keys of a sequence's first block alone; here all that go on with it have it too, as far
as the subscriber was told of the first.

Who subscribes when the first batches are not kept any more is told which blocks there are: in batches that have
``snapshot``, whose last has the number of the last batch that is in them. The first of these begins with ``cleared``,
and none of their events has a number.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from struct import unpack
from typing import Any, Final

from attrs import define, field
from smg_grpc_proto.generated import common_pb2 as pb

from vllmsim.blockevents import BlockEvent, BlockPicture, EventBatch
from vllmsim.inference import StoredBlocks

NOT_ENABLED: Final = (
    "KV cache events not enabled. Start vLLM with --kv-events-config "
    '\'{"enable_kv_cache_events": true, "publisher": "zmq"}\''
)
"""What is told where there are no events."""

_MEDIUM: Final = "GPU"
_KIND: Final = "full_attention"
_GROUP: Final = 0
_HASH_BYTES: Final = 8
_MOST_TOKENS: Final = 1 << 15
"""In a part of a snapshot: some 100 kB, where clients take 4 MiB in a message."""
_MOST_BLOCKS: Final = 1 << 8
"""The same: they take some milliseconds to write."""
_MOST_SALTED: Final = 1 << 16
"""Blocks whose salts are remembered: those that were told last."""


@define(eq=False)
class KvEventWriter:
    """Writes the batches of one subscription."""

    _events: int = field(init=False, default=0)
    """How many there were."""
    _salts: dict[int, str] = field(init=False, factory=dict)
    """By hash, the salt of blocks that have one. A hash depends on it, so that it never has another."""

    def batch(self, rank: int, block_size: int, batch: EventBatch) -> pb.KvEventBatch:
        """Write a batch.

        :param rank: whose it is.
        :param block_size: tokens per block.
        """
        told = pb.KvEventBatch(sequence_number=batch.sequence, timestamp=batch.time, dp_rank=rank)
        for event in batch.events:
            self._events += 1
            self._write(told.events.add(event_id=self._events), event, block_size)
        return told

    def picture(self, rank: int, block_size: int, time: float, picture: BlockPicture) -> Iterator[pb.KvEventBatch]:
        """Write which blocks there are.

        :param time: seconds since the epoch.
        :return: each ``KvEventBatch``, when it is asked for.
        """
        # Their numbers are those of batches that were, and there may have been few.
        most = max(min(_MOST_BLOCKS, _MOST_TOKENS // block_size), -(-picture.blocks // (picture.sequence + 1)))
        count = max(1, -(-picture.blocks // most))
        blocks = iter(picture.stored)
        for index in range(count):
            told = pb.KvEventBatch(
                sequence_number=picture.sequence - count + 1 + index,
                timestamp=time,
                dp_rank=rank,
                snapshot=pb.KvSnapshotChunk(
                    index=index, count=count, blocks=picture.blocks, unknown_before=picture.unknown
                ),
            )
            if not index:
                told.events.add().cleared.SetInParent()
            for run in _runs(islice(blocks, most)):
                self._write(told.events.add(), run, block_size)
            yield told

    def _write(self, told: pb.KvCacheEvent, event: BlockEvent, block_size: int) -> None:
        if event is None:
            told.cleared.SetInParent()
        elif isinstance(event, bytes):
            removed = told.removed
            removed.block_hashes.append(_signed((event,))[0])
            _place(removed)
        else:
            self._write_stored(told.stored, event, block_size)

    def _write_stored(self, told: pb.KvBlocksStored, event: StoredBlocks, block_size: int) -> None:
        hashes, ids, add = _signed(event.hashes), event.ids, told.blocks.add
        adapter = event.adapter
        first = 0
        for block_hash, keys in zip(hashes, event.keys, strict=True):
            block = add(block_hash=block_hash, token_ids=ids[first : first + block_size], block_size=block_size)
            first += block_size
            if adapter is not None:
                block.lora_id = adapter.number
            for key in keys or ():
                _write_key(block.extra_keys.add(), key)
        parent = None if event.parent is None else _signed((event.parent,))[0]
        if parent is not None:
            told.parent_block_hash = parent
        _place(told)
        told.kv_cache_spec_kind = _KIND
        if adapter is not None:
            told.lora_name = adapter.name
        salt = self._salt(event, parent)
        if salt is not None:
            told.cache_salt = salt
            self._remember(hashes, salt)

    def _salt(self, event: StoredBlocks, parent: int | None) -> str | None:
        if parent is not None:
            return self._salts.get(parent)
        name = None if event.adapter is None else event.adapter.name
        return next((key for key in event.keys[0] or () if isinstance(key, str) and key not in {"", name}), None)

    def _remember(self, hashes: Sequence[int], salt: str) -> None:
        salts = self._salts
        for each in hashes:
            salts.pop(each, None)
            salts[each] = salt
        for each in [*islice(salts, max(0, len(salts) - _MOST_SALTED))]:
            del salts[each]


def _place(told: pb.KvBlocksStored | pb.KvBlocksRemoved) -> None:
    """Say where blocks are: in the memory of the GPU, and at home."""
    told.tier = pb.KV_CACHE_TIER_DEVICE
    told.medium = _MEDIUM
    told.group_idx = _GROUP
    told.locality = pb.KV_CACHE_LOCALITY_LOCAL


def _write_key(told: pb.KvBlockExtraKey, key: str | bytes | int | list[Any]) -> None:
    if isinstance(key, str):
        told.text = key
    elif isinstance(key, bytes):
        told.blob = key
    elif isinstance(key, int):
        told.number = key
    else:
        told.multimodal.identifier, told.multimodal.offset = key


def _signed(digests: Sequence[bytes]) -> tuple[int, ...]:
    return unpack(f">{len(digests)}q", b"".join([digest[-_HASH_BYTES:] for digest in digests]))


def _runs(blocks: Iterator[StoredBlocks]) -> Iterator[StoredBlocks]:
    """Join blocks that go on with each other."""
    run: list[StoredBlocks] = []
    for block in blocks:
        if run and not (block.parent == run[-1].hashes[0] and block.adapter == run[-1].adapter):
            yield _joined(run)
            run = []
        run.append(block)
    if run:
        yield _joined(run)


def _joined(run: Sequence[StoredBlocks]) -> StoredBlocks:
    return StoredBlocks(
        [block.hashes[0] for block in run],
        run[0].parent,
        [each for block in run for each in block.ids],
        [block.keys[0] for block in run],
        run[0].adapter,
    )
