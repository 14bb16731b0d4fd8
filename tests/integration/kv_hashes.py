"""Hashes of blocks, computed anew from what events say: CBOR, SHA-256 and FNV-1a, and nothing of vllmsim."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import cbor2

from tests.integration.kv_subscriber import _Stored


def cbor(value: object) -> bytes:
    """Write canonical CBOR."""
    return cbor2.dumps(value, canonical=True)


def fnv1a(data: bytes) -> int:
    """Hash with 64-bit FNV-1a."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


class Sha256Cbor:
    """vLLM's chain over CBOR.

    :param seed: ``PYTHONHASHSEED``, or the constant that vLLM has without it.
    :param adapters: for each adapter where it was loaded from: the path is hashed, and no event tells it.
    """

    def __init__(self, adapters: dict[str, str], seed: str = "vllm-none-hash") -> None:
        self._root = sha256(cbor(seed)).digest()
        self._adapters = adapters
        self._digests: dict[int, bytes] = {}

    def _block(self, parent: bytes, ids: Sequence[int], keys: Sequence[Any]) -> bytes:
        tagged: list[list[Any]] = []
        for key in keys:
            if isinstance(key, list):
                tagged.append(["mm", *key])
            elif key in self._adapters:
                tagged.append(["lora", key, self._adapters[key]])
            else:
                tagged.append(["cache_salt", key])
        return sha256(cbor([parent, list(ids), tagged or None])).digest()

    def chain(self, ids: Sequence[int], size: int, adapter: str | None = None, salt: str | None = None) -> list[int]:
        """Hash the full blocks of a prompt, as events tell them."""
        numbers, parent = [], self._root
        for start in range(0, len(ids) - size + 1, size):
            keys = [adapter] if adapter else []
            keys += [salt] if salt and not start else []
            parent = self._block(parent, ids[start : start + size], keys)
            numbers.append(int.from_bytes(parent[-8:], "big"))
        return numbers

    def check(self, event: _Stored) -> None:
        """Compare an event's hashes with its tokens, and with the block before."""
        parent = self._digests[int(event.parent_block_hash)] if event.parent_block_hash else self._root
        size = event.block_size
        # An array has null for all blocks together when none has keys.
        all_keys = event.extra_keys or [None] * len(event.block_hashes)
        for index, (told, keys) in enumerate(zip(event.block_hashes, all_keys, strict=True)):
            parent = self._block(parent, event.token_ids[index * size : (index + 1) * size], keys or ())
            number = int.from_bytes(parent[-8:], "big")
            if told != number:
                raise ValueError(f"block {index} is told as {told!r}, and is {number}")
            self._digests[number] = parent


class Fnv64Cbor:
    """llm-d-inference-sim's chain, without media and salts.

    :param model: the base model's name; adapters' blocks have theirs.
    """

    def __init__(self, model: str, seed: str = "") -> None:
        self._model = model
        self._init = fnv1a(seed.encode())

    def chain(self, ids: Sequence[int], size: int, adapter: str | None = None, _salt: str | None = None) -> list[int]:
        """Hash the full blocks of a prompt."""
        numbers, parent = [], fnv1a(cbor([self._init, None, adapter or self._model]))
        for start in range(0, len(ids) - size + 1, size):
            parent = fnv1a(cbor([parent, list(ids[start : start + size]), None]))
            numbers.append(parent)
        return numbers

    def check(self, event: _Stored) -> None:
        """Compare an event's hashes with its tokens, and with the block before."""
        parent = event.parent_block_hash or fnv1a(cbor([self._init, None, event.lora_name or self._model]))
        for index, told in enumerate(event.block_hashes):
            ids = event.token_ids[index * event.block_size : (index + 1) * event.block_size]
            parent = fnv1a(cbor([parent, ids, None]))
            if told != parent:
                raise ValueError(f"block {index} is told as {told!r}, and is {parent}")
