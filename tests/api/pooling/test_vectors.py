"""Vectors on the wire."""

import base64
import json
import math
import struct
import sys
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.api.pooling.case import PoolingDialectTestCase
from vllmsim.api.pooling.tasks import PoolingTaskDialect
from vllmsim.api.pooling.vectors import pack
from vllmsim.pooling import Pooled

NUMBERS = st.floats(-4, 4, width=32)


def value(code: int, fraction: int, bias: int) -> float:
    """Read an 8-bit float, by its definition."""
    exponent, rest = divmod(code & 0x7F, 1 << fraction)
    magnitude = math.ldexp(rest + ((1 << fraction) if exponent else 0), max(exponent, 1) - bias - fraction)
    return -magnitude if code & 0x80 else magnitude


class PackTests(SynchronousTestCase):
    """Numbers as bytes."""

    def test_float32(self) -> None:
        """32-bit floats are those of the machine, in any order."""
        self.assertEqual(struct.pack("<2f", 1.5, -2.0), pack([1.5, -2.0], "float32", "little"))
        self.assertEqual(struct.pack(">2f", 1.5, -2.0), pack([1.5, -2.0], "float32", "big"))
        self.assertEqual(pack([1.5], "float32", sys.byteorder), pack([1.5], "float32", "native"))

    def test_order(self) -> None:
        """The order of bytes turns every number, and no more than that."""
        for dtype in ("float32", "float16", "bfloat16"):
            little, big = (pack([0.1, -3.0], dtype, order) for order in ("little", "big"))
            size = len(little) // 2
            self.assertEqual(little[:size][::-1] + little[size:][::-1], big)
            self.assertEqual(pack([0.1, -3.0], dtype, sys.byteorder), pack([0.1, -3.0], dtype, "native"))

    def test_bfloat16(self) -> None:
        """16-bit floats with 8 bits of exponent are the upper halves, rounded, ties to even."""
        for number, expected in ((1.0, 0x3F80), (-2.0, 0xC000), (1.00390625, 0x3F80), (1.01171875, 0x3F82), (0.0, 0)):
            self.assertEqual(expected.to_bytes(2, "big"), pack([number], "bfloat16", "big"))

    def test_float16(self) -> None:
        """16-bit floats are IEEE's."""
        self.assertEqual(b"\x3c\x00\xc0\x00", pack([1.0, -2.0], "float16", "big"))

    def test_eight_bits(self) -> None:
        """8-bit floats of known numbers are what they should be."""
        for number, e4m3, e5m2 in (
            (0.0, 0x00, 0x00),
            (1.0, 0x38, 0x3C),
            (-1.0, 0xB8, 0xBC),
            (0.5, 0x30, 0x38),
            (2.0**-6, 0x08, 0x24),
            (2.0**-9, 0x01, 0x18),
            (1.9999, 0x40, 0x40),
            (448.0, 0x7E, 0x5F),
        ):
            self.assertEqual(bytes([e4m3]), pack([number], "fp8_e4m3", "big"), number)
            self.assertEqual(bytes([e5m2]), pack([number], "fp8_e5m2", "big"), number)

    def test_eight_bits_all(self) -> None:
        """Every 8-bit float comes back as it is, and half way between two is the even one."""
        for dtype, fraction, bias, most in (("fp8_e4m3", 3, 7, 0x7E), ("fp8_e5m2", 2, 15, 0x5F)):
            for code in range(most + 1):
                number = value(code, fraction, bias)
                self.assertEqual(bytes([code, code | 0x80 if code else 0]), pack([number, -number], dtype, "native"))  # type: ignore[arg-type]
            for low, high in pairwise(range(most)):
                middle = (value(low, fraction, bias) + value(high, fraction, bias)) / 2
                even = low if low % 2 == 0 else high
                self.assertEqual(bytes([even]), pack([middle], dtype, "native"))  # type: ignore[arg-type]

    @settings(max_examples=200, deadline=None)
    @given(st.lists(NUMBERS, min_size=1, max_size=5))
    def test_sizes(self, numbers: list[float]) -> None:
        """Each type has its size, and is near the number."""
        count = len(numbers)
        self.assertEqual(
            [4 * count, 2 * count, 2 * count, count, count],
            [
                len(pack(numbers, dtype, "native"))
                for dtype in ("float32", "float16", "bfloat16", "fp8_e4m3", "fp8_e5m2")
            ],
        )
        for number, code in zip(numbers, pack(numbers, "fp8_e4m3", "native"), strict=True):
            self.assertApproximates(number, value(code, 3, 7), max(abs(number) / 16, 2**-10))


class WriterTests(PoolingDialectTestCase):
    """Answers in each format, to ``/pooling``."""

    make = PoolingTaskDialect

    def data(self, **fields: Any) -> list[Any]:
        """Write two vectors and read what they are called."""
        answer = json.loads(self.written({"input": "a", **fields}, [1.0, -0.5], [0.25, 0.0]))
        return [(entry["index"], entry["object"], entry["data"]) for entry in answer["data"]]

    def test_float(self) -> None:
        """Numbers are a list."""
        self.assertEqual([(0, "pooling", [1.0, -0.5]), (1, "pooling", [0.25, 0.0])], self.data())

    def test_base64(self) -> None:
        """In base 64 they are packed as 32-bit floats, or as the request says."""
        [(_, _, text), _] = self.data(encoding_format="base64", endianness="little")
        self.assertEqual((1.0, -0.5), struct.unpack("<2f", base64.b64decode(text)))
        [(_, _, text), _] = self.data(encoding_format="base64", endianness="big", embed_dtype="float16")
        self.assertEqual((1.0, -0.5), struct.unpack(">2e", base64.b64decode(text)))

    def test_by_token(self) -> None:
        """The vectors of an input's tokens are a table, in base 64 one behind the other."""
        table = [Pooled(2, [[1.0, -0.5], [0.25, 0.0]], by_token=True)]
        body = {"input": "a", "task": "token_embed"}
        [entry] = json.loads(b"".join(self.parse(body).write(table).pieces))["data"]
        self.assertEqual([[1.0, -0.5], [0.25, 0.0]], entry["data"])
        body = {**body, "encoding_format": "base64", "endianness": "little"}
        [entry] = json.loads(b"".join(self.parse(body).write(table).pieces))["data"]
        self.assertEqual((1.0, -0.5, 0.25, 0.0), struct.unpack("<4f", base64.b64decode(entry["data"])))
        reply = self.parse({**body, "encoding_format": "bytes"}).write(table)
        self.assertEqual([2, 2], json.loads(reply.headers["metadata"])["data"][0]["shape"])

    def test_bytes(self) -> None:
        """Raw bytes have all vectors, and a header says where each is."""
        body = {"input": "a", "encoding_format": "bytes", "embed_dtype": "fp8_e5m2", "endianness": "big"}
        reply = self.write(body, [1.0, -1.0], [0.5, 0.5])
        self.assertEqual(
            (b"\x3c\xbc\x38\x38", "application/octet-stream"), (b"".join(reply.pieces), reply.content_type)
        )
        entry = {"embed_dtype": "fp8_e5m2", "endianness": "big"}
        self.assertEqual(
            {
                "id": "pooling-0123456789abcdef",
                "created": 1795339833,
                "model": "m1",
                "data": [
                    {"index": 0, **entry, "start": 0, "end": 2, "shape": [2]},
                    {"index": 1, **entry, "start": 2, "end": 4, "shape": [2]},
                ],
                "usage": {"prompt_tokens": 6, "total_tokens": 6},
            },
            json.loads(reply.headers["metadata"]),
        )

    def test_bytes_only(self) -> None:
        """Bytes alone have no such header."""
        reply = self.write({"input": "a", "encoding_format": "bytes_only"}, [1.0])
        self.assertEqual(({}, 4), (dict(reply.headers), len(b"".join(reply.pieces))))

    def test_wrong(self) -> None:
        """Formats, types and orders that are none are refused."""
        for name in ("encoding_format", "embed_dtype", "endianness"):
            status, param, message = self.refusal({"input": "a", name: "x"})
            self.assertEqual((400, f"body.{name}"), (status, param))
            self.assertIn("literal_error", message)
