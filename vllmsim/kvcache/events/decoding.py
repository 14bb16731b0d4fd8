# -*- test-case-name: tests.kvcache.events.test_decoding -*-
"""Batches of KV events, read as their subscribers read them: the other way of :mod:`vllmsim.kvcache.events.encoding`.

Batches are kept as they were written, which takes a tenth of the memory that their values take, and read again for who
wants them in another form. So both tell the same. A hash that was told as a number is its eight bytes here.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgpack

from vllmsim.blockevents import BlockEvent, EventBatch
from vllmsim.inference import Adapter, StoredBlocks

_HASH_BYTES: Final = 8
_STORED: Final = (
    "type",
    "block_hashes",
    "parent_block_hash",
    "token_ids",
    "block_size",
    "lora_id",
    "medium",
    "lora_name",
    "extra_keys",
)
"""What the members of an array are called in a map."""


def decode(payload: bytes, sequence: int) -> EventBatch:
    """Read a batch.

    :param payload: what :class:`~vllmsim.kvcache.events.encoding.BatchEncoder` wrote.
    :param sequence: its number.
    """
    time, events, _ = msgpack.unpackb(payload)
    return EventBatch(sequence, time, [_event(event) for event in events])


def _event(event: Mapping[str, Any] | Sequence[Any]) -> BlockEvent:
    members = event if isinstance(event, dict) else dict(zip(_STORED, event, strict=False))
    kind = members["type"]
    if kind == "AllBlocksCleared":
        return None
    hashes = [_digest(each) for each in members["block_hashes"]]
    if kind == "BlockRemoved":
        return hashes[0]
    parent, number = members["parent_block_hash"], members["lora_id"]
    keys = members["extra_keys"]
    return StoredBlocks(
        hashes,
        None if parent is None else _digest(parent),
        members["token_ids"],
        [None] * len(hashes) if keys is None else [each and tuple(each) for each in keys],
        None if number is None else Adapter(members["lora_name"], "", "", number),
    )


def _digest(told: int | bytes) -> bytes:
    return told if isinstance(told, bytes) else told.to_bytes(_HASH_BYTES, "big")
