# -*- test-case-name: tests.kvcache.hashing.test_algorithms -*-
"""How blocks are hashed: each with all before it, so that equal hashes mean equal prefixes.

vLLM hashes a tuple of the parent's hash, the block's token ids, and the extra keys, which are a tuple or None. The
algorithms differ in how they write the tuple and in what they make of the bytes:

===============  ======================  =====================================
algorithm        written as              hashed by
===============  ======================  =====================================
``sha256``       a pickle, protocol 5    SHA-256
``sha256_cbor``  canonical CBOR          SHA-256
``xxhash``       a pickle, protocol 5    XXH3, 128 bits
``xxhash_cbor``  canonical CBOR          XXH3, 128 bits
``fnv64_cbor``   canonical CBOR          FNV-1a, 64 bits (llm-d-inference-sim)
===============  ======================  =====================================

The parent of a first block is the hash of the seed, which is a text: ``PYTHONHASHSEED`` as it stands, even if that is
``random``. Without it vLLM takes a constant for SHA-256, and a random one for XXH3.

A pickle refers back to objects that it has seen, so that its bytes depend on which of them are the same. As in vLLM the
tags of extra keys are (they are literals here too), and the texts behind them are not: :func:`apart` makes copies.

``fnv64_cbor`` is llm-d-inference-sim's chain, and that of the routers that go with it: hashes are numbers, here of 8
bytes, big end first; the first parent is made of the seed and of the model's name, which for an adapter is the
adapter's. Of extra keys it knows media, by hash and without a place: a list of maps ``{"Hash": hash}``. It does not
know salts; here a salt is one more map, ``{"Salt": salt}``, behind them.
"""

import hashlib
import pickle
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final, Protocol, TypeAlias

from attrs import frozen

Extra: TypeAlias = tuple[tuple[Any, ...], ...] | None
"""What is hashed with a block beside its tokens: ``("lora", name, path)``, ``("mm", hash, offset)`` for each of the
media in it, and ``("cache_salt", salt)``, in this order; None for nothing."""

_PICKLE_PROTOCOL: Final = 5
_SEED: Final = "vllm-none-hash"
_SEED_BYTES: Final = 32
_FNV_OFFSET: Final = 14695981039346656037
_FNV_PRIME: Final = 1099511628211
_64_BITS: Final = (1 << 64) - 1


class BlockHash(Protocol):
    """One of the algorithms."""

    def root(self, model: str) -> bytes:
        """Make the parent of first blocks.

        :param model: the name of the model, or of the adapter, that computes them.
        """

    def block(self, parent: bytes, ids: tuple[int, ...], extra: Extra) -> bytes:
        """Hash a block."""


@frozen(eq=False)
class TupleHash:
    """Hashes as vLLM does."""

    _write: Callable[[object], bytes]
    _digest: Callable[[bytes], bytes]
    _root: bytes

    def root(self, model: str) -> bytes:
        """Make the parent of first blocks, whatever the model."""
        return self._root

    def block(self, parent: bytes, ids: tuple[int, ...], extra: Extra) -> bytes:
        """Hash a block; see :class:`BlockHash`."""
        return self._digest(self._write((parent, ids, extra)))


@frozen(eq=False)
class NumberHash:
    """Hashes as llm-d-inference-sim does.

    :param init: the hash of the seed.
    """

    _write: Callable[[object], bytes]
    _init: int

    def root(self, model: str) -> bytes:
        """Make the parent of first blocks of a model."""
        return _eight(fnv1a_64(self._write((self._init, None, apart(model)))))

    def block(self, parent: bytes, ids: tuple[int, ...], extra: Extra) -> bytes:
        """Hash a block; see :class:`BlockHash`."""
        taint = [{"Hash": key[1]} for key in extra or () if key[0] == "mm"]
        taint += [{"Salt": key[1]} for key in extra or () if key[0] == "cache_salt"]
        return _eight(fnv1a_64(self._write((int.from_bytes(parent, "big"), ids, taint or None))))


def block_hash(algorithm: str, seed: str, generator: Random) -> BlockHash:
    """Make an algorithm.

    :param algorithm: one of :data:`vllmsim.config.schema.HASH_ALGORITHMS`.
    :param seed: the text that all who share hashes have in common; empty for none.
    :param generator: where a seed comes from if there is none, and the algorithm wants a random one.
    """
    return _ALGORITHMS[algorithm](seed, generator)


def number_of(digest: bytes) -> int:
    """Make of a hash the number that events have: its last 64 bits.

    :return: from 0 to 2**64 - 1.
    """
    return int.from_bytes(digest[-8:], "big")


def apart(text: str) -> str:
    """Copy a text, so that a pickle does not refer back to it; what UTF-8 cannot say becomes question marks."""
    return text.encode("utf-8", "replace").decode()


def fnv1a_64(data: bytes) -> int:
    """Hash bytes with 64-bit FNV-1a.

    :return: from 0 to 2**64 - 1.
    """
    value = _FNV_OFFSET
    for byte in data:
        value = ((value ^ byte) * _FNV_PRIME) & _64_BITS
    return value


def _eight(number: int) -> bytes:
    return number.to_bytes(8, "big")


def _pickled(value: object) -> bytes:
    return pickle.dumps(value, _PICKLE_PROTOCOL)


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _cbor() -> Callable[[object], bytes]:
    # Neither this library nor the other is needed where the algorithm is the usual one.
    from cbor2 import dumps  # noqa: PLC0415

    return lambda value: dumps(value, canonical=True)


def _xxh3() -> Callable[[bytes], bytes]:
    from xxhash import xxh3_128_digest  # noqa: PLC0415

    return xxh3_128_digest


def _by_sha256(write: Callable[[object], bytes], seed: str) -> BlockHash:
    return TupleHash(write, _sha256, _sha256(write(apart(seed) or _SEED)))


def _by_xxh3(write: Callable[[object], bytes], seed: str, generator: Random) -> BlockHash:
    digest = _xxh3()
    return TupleHash(write, digest, digest(write(apart(seed) or generator.randbytes(_SEED_BYTES).hex())))


_ALGORITHMS: Final[Mapping[str, Callable[[str, Random], BlockHash]]] = {
    "sha256": lambda seed, _: _by_sha256(_pickled, seed),
    "sha256_cbor": lambda seed, _: _by_sha256(_cbor(), seed),
    "xxhash": lambda seed, generator: _by_xxh3(_pickled, seed, generator),
    "xxhash_cbor": lambda seed, generator: _by_xxh3(_cbor(), seed, generator),
    "fnv64_cbor": lambda seed, _: NumberHash(_cbor(), fnv1a_64(apart(seed).encode())),
}
