# -*- test-case-name: tests.api.pooling.test_vectors -*-
"""Vectors on the wire: as lists of numbers, as text in base 64, or as raw bytes.

Packed numbers have one of five types, rounded to the nearest and ties to even: ``float32``, ``float16`` and
``bfloat16``, and the 8-bit types ``fp8_e4m3`` (4 bits of exponent, 3 of fraction) and ``fp8_e5m2``. ``native`` order of
bytes is this machine's. A response of raw bytes has all vectors one behind the other; a header says where each begins.
"""

import base64
import json
import math
import struct
import sys
from array import array
from bisect import bisect
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Final, Literal, TypeAlias

import orjson
from attrs import frozen

from vllmsim.api.pooling.inputs import InputBody, PoolingReading, Reply
from vllmsim.pooling import Pooled

EncodingFormat: TypeAlias = Literal["float", "base64", "bytes", "bytes_only"]
EmbedDtype: TypeAlias = Literal["float32", "float16", "bfloat16", "fp8_e4m3", "fp8_e5m2"]
Endianness: TypeAlias = Literal["native", "big", "little"]

_EIGHT_BITS: Final = {"fp8_e4m3": (3, -6), "fp8_e5m2": (2, -14)}
"""How many bits of an 8-bit type are fraction, and the least exponent of its normal numbers."""
_NEGATIVE: Final = 0x80


class VectorBody(InputBody):
    """A request that is answered with vectors."""

    encoding_format: EncodingFormat = "float"
    embed_dtype: EmbedDtype = "float32"
    endianness: Endianness = "native"
    dimensions: int | None = None


def pack(numbers: Sequence[float], dtype: EmbedDtype, endianness: Endianness) -> bytes:
    """Write numbers as bytes.

    :param numbers: each from -448 to 448, the largest of ``fp8_e4m3``; 8-bit types have no negative zero.
    """
    if dtype in _EIGHT_BITS:
        bounds = _bounds(*_EIGHT_BITS[dtype])
        return bytes(bisect(bounds, n) if n >= 0 else bisect(bounds, -n) | _NEGATIVE for n in numbers)
    swapped = endianness not in {"native", sys.byteorder}
    if dtype == "float16":
        return struct.pack(f"{'<' if (sys.byteorder == 'little') != swapped else '>'}{len(numbers)}e", *numbers)
    packed: array[Any] = array("f", numbers)
    if dtype == "bfloat16":
        packed = array("H", map(_upper_half, array("I", packed.tobytes())))
    if swapped:
        packed.byteswap()
    return packed.tobytes()


def _upper_half(bits: int) -> int:
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16


@cache
def _bounds(fraction: int, least: int) -> list[float]:
    """Find the smallest number that is rounded to each 8-bit float but zero; ties belong to the even one."""

    def value(code: int) -> float:
        exponent, rest = divmod(code, 1 << fraction)
        return math.ldexp(rest + ((1 << fraction) if exponent else 0), max(exponent, 1) - 1 + least - fraction)

    middles = [(value(code) + value(code + 1)) / 2 for code in range(_NEGATIVE - 1)]
    return [middle if code % 2 else math.nextafter(middle, math.inf) for code, middle in enumerate(middles)]


def dump(numbers: Sequence[float]) -> bytes:
    """Write numbers as a JSON list."""
    return orjson.dumps(list(numbers))


@frozen(eq=False)
class VectorWriter:
    """Writes the answer to a request for vectors.

    :param kind: what each entry's ``object`` is.
    :param member: what the vector is called there.
    """

    _reading: PoolingReading
    _body: VectorBody
    _kind: str
    _member: str

    def __call__(self, pooled: Sequence[Pooled]) -> Reply:
        """Write it in the format that the request wants."""
        if self._body.encoding_format in {"float", "base64"}:
            return self._reading.listing(pooled, self._items(pooled))
        pieces = [self._pack(each) for each in pooled]
        headers = {} if self._body.encoding_format == "bytes_only" else {"metadata": self._metadata(pooled, pieces)}
        return Reply(pieces, "application/octet-stream", headers)

    def _items(self, pooled: Sequence[Pooled]) -> Iterator[bytes]:
        for index, each in enumerate(pooled):
            yield b'{"index":%d,"object":"%s","%s":%s}' % (
                index,
                self._kind.encode(),
                self._member.encode(),
                self._value(each),
            )

    def _value(self, pooled: Pooled) -> bytes:
        if self._body.encoding_format == "base64":
            return b'"%s"' % base64.b64encode(self._pack(pooled))
        return b"[%s]" % b",".join(map(dump, pooled.vectors)) if pooled.by_token else dump(pooled.vectors[0])

    def _pack(self, pooled: Pooled) -> bytes:
        return b"".join(pack(vector, self._body.embed_dtype, self._body.endianness) for vector in pooled.vectors)

    def _metadata(self, pooled: Sequence[Pooled], pieces: Sequence[bytes]) -> str:
        """Describe the bytes: where each entry is, and its shape."""
        entries, start = [], 0
        for index, (each, piece) in enumerate(zip(pooled, pieces, strict=True)):
            entries.append(
                {
                    "index": index,
                    "embed_dtype": self._body.embed_dtype,
                    "endianness": self._body.endianness,
                    "start": start,
                    "end": start + len(piece),
                    "shape": each.shape,
                }
            )
            start += len(piece)
        tokens = self._reading.tokens(pooled)
        return json.dumps(
            {
                "id": self._reading.id,
                "created": self._reading.created,
                "model": self._reading.model,
                "data": entries,
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            }
        )
