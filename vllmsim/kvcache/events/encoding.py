# -*- test-case-name: tests.kvcache.events.test_encoding -*-
"""KV events on the wire: a batch of them as msgpack, in either of the two forms that subscribers know.

A batch is an array of three: when it was written, in seconds since the epoch (a double), its events in their order, and
the number of the data-parallel rank. An event is, by default, an array that begins with its kind::

    ["BlockStored", [hash, ...], parent, [token, ...], block size, adapter's number, "GPU", adapter's name, [keys, ...]]
    ["BlockRemoved", [hash], "GPU"]
    ["AllBlocksCleared"]

So it was in vLLM until 0.22, and so llm-d-inference-sim writes it. vLLM writes maps since then::

    {"type": "BlockStored", "block_hashes": [hash, ...], "parent_block_hash": parent, "token_ids": [token, ...],
     "block_size": 16, "lora_id": number, "medium": "GPU", "lora_name": name, "extra_keys": [keys, ...], "group_idx": 0,
     "kv_cache_spec_kind": "full_attention"}
    {"type": "BlockRemoved", "block_hashes": [hash], "medium": "GPU", "group_idx": 0}
    {"type": "AllBlocksCleared"}

A hash is the last eight bytes of the block's digest as an unsigned integer, or the whole digest as bytes. The parent is
the hash of the block before the first, and nil for the first of a sequence: llm-d-inference-sim has 0 there in arrays,
which a hash could be, and consumers of arrays read nil too, as vLLM always wrote it. `keys` has one member for each
block: what was hashed beside its tokens, or nil. In an array there is nil for all together when no block has any.
"""

from collections.abc import Iterable, Sequence
from struct import unpack
from typing import Any, Final

import msgpack
from attrs import define, field

from vllmsim.blockevents import BlockEvent

_MEDIUM: Final = "GPU"
_KIND: Final = "full_attention"
_HASH_BYTES: Final = 8


@define(eq=False)
class BatchEncoder:
    """Writes the batches of one rank.

    :param rank: its number.
    :param block_size: tokens per block.
    :param maps: whether events are maps, not arrays.
    :param int_hashes: whether hashes are integers, not whole digests.
    """

    _rank: int
    _block_size: int
    _maps: bool = False
    _int_hashes: bool = True
    # Names of adapters and salts come from clients, and a text that is none must not stop the events of others.
    _packer: msgpack.Packer = field(init=False, factory=lambda: msgpack.Packer(unicode_errors="replace"))

    def encode(self, time: float, events: Iterable[BlockEvent]) -> bytes:
        """Write a batch.

        :param time: seconds since the epoch.
        """
        write = self._map if self._maps else self._array
        packed: bytes = self._packer.pack([float(time), [write(event) for event in events], self._rank])
        return packed

    def _hashes(self, digests: Sequence[bytes]) -> Sequence[int | bytes]:
        if not self._int_hashes:
            return list(digests)
        return unpack(f">{len(digests)}Q", b"".join([digest[-_HASH_BYTES:] for digest in digests]))

    def _array(self, event: BlockEvent) -> Sequence[Any]:
        if event is None:
            return ("AllBlocksCleared",)
        if isinstance(event, bytes):
            return "BlockRemoved", self._hashes((event,)), _MEDIUM
        adapter = event.adapter
        return (
            "BlockStored",
            self._hashes(event.hashes),
            None if event.parent is None else self._hashes((event.parent,))[0],
            _packable(event.ids),
            self._block_size,
            adapter and adapter.number,
            _MEDIUM,
            adapter and adapter.name,
            list(event.keys) if any(event.keys) else None,
        )

    def _map(self, event: BlockEvent) -> dict[str, Any]:
        if event is None:
            return {"type": "AllBlocksCleared"}
        if isinstance(event, bytes):
            return {"type": "BlockRemoved", "block_hashes": self._hashes((event,)), "medium": _MEDIUM, "group_idx": 0}
        adapter = event.adapter
        return {
            "type": "BlockStored",
            "block_hashes": self._hashes(event.hashes),
            "parent_block_hash": None if event.parent is None else self._hashes((event.parent,))[0],
            "token_ids": _packable(event.ids),
            "block_size": self._block_size,
            "lora_id": adapter and adapter.number,
            "medium": _MEDIUM,
            "lora_name": adapter and adapter.name,
            "extra_keys": list(event.keys),
            "group_idx": 0,
            "kv_cache_spec_kind": _KIND,
        }


def _packable(ids: Sequence[int]) -> Sequence[int]:
    return ids if isinstance(ids, tuple | list) else tuple(ids)
