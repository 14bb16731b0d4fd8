"""Calls of gRPC that nobody should make, made by chance: their messages, the frames of these, and their metadata."""

import gzip
import importlib
import pkgutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from random import Random
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

import vllmsim.grpc
from vllmsim.api.frames import PREFIX
from vllmsim.grpc.service import Method, Service

_TEXTS: Final = (
    "", "m", "a", "x" * 3000, "\0", "\ud7ff", "😀", "%s", "../../etc/passwd", "vllm.grpc.engine.VllmEngine", "{}",
)  # fmt: skip
_JSON: Final = ('{"a": 1}', "{", "[" * 5000, '{"type": "object"}', '{"$ref": "#"}', '{"pattern": "(a+)+$"}')
_INTEGERS: Final = (0, 1, 2, 5, 20, 255, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1, -1, -(2**31), -(2**63))
_FLOATS: Final = (0.0, 1.0, -1.0, 0.5, 1e308, float("inf"), float("nan"), -1e-45)
_METADATA: Final = (
    ("grpc-timeout", ("1S", "10m", "0n", "99999999H", "1s", "-1S", "999999999S", "", "S", "1" * 500, "\u0661S")),
    ("grpc-encoding", ("gzip", "deflate", "identity", "snappy", "", "gzip, gzip", "x" * 3000)),
    ("content-type", ("application/grpc", "application/grpc+proto", "application/grpc+json", "application/grpc;x", "")),
    ("x-data-bin", ("AA==", "!!", "", "A", "=" * 200, "é")),
    ("te", ("trailers", "gzip", "")),
    ("x-data-parallel-rank", ("0", "1", "-1", "x", "9" * 400)),
    ("traceparent", ("00-" + "0" * 32 + "-" + "0" * 16 + "-01", "x", "00-" + "f" * 32 + "-" + "f" * 16 + "-ff")),
    ("authorization", ("Bearer x", "Bearer", "x" * 9000)),
    ("model", ("m", "none", "\x7f")),
    ("x-request-id", ("a", "a\tb", "x" * 5000)),
    ("content-length", ("5",)),
    ("user-agent", ("grpc/1", "")),
)  # fmt: skip
_LENGTHS: Final = (0, 1, 4, 5, 255, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
_BOMB: Final = 64 << 20


@cache
def methods() -> tuple[tuple[str, Method], ...]:
    """List every method that any service of ours has, and the path that it is called by, but the one that ends all."""
    found: dict[str, Method] = {}
    for module in pkgutil.iter_modules(vllmsim.grpc.__path__):
        for member in vars(importlib.import_module(f"vllmsim.grpc.{module.name}")).values():
            service = getattr(member, "service", None)
            if isinstance(service, Service):
                found |= {f"/{service.name}/{name}": method for name, method in service.methods.items()}
    del found["/vllm.Control/Shutdown"]
    return tuple(sorted(found.items()))


@cache
def _bombs() -> tuple[bytes, ...]:
    """Make what is small, and much larger when it is inflated."""
    return gzip.compress(bytes(_BOMB)), zlib.compress(bytes(_BOMB)), gzip.compress(gzip.compress(bytes(_BOMB)))


class Calls:
    """What one client says.

    :param chance: decides.
    """

    def __init__(self, chance: Random) -> None:
        self._chance = chance

    def target(self) -> tuple[str, Method]:
        """Choose a method."""
        return self._chance.choice(methods())

    def metadata(self) -> dict[str, str]:
        """Choose some headers, of which few are odd."""
        chance, share = self._chance, self._chance.choice((0.0, 0.0, 0.1, 0.5))
        return {name: chance.choice(values) for name, values in _METADATA if chance.random() < share}

    def body(self, method: Method) -> bytes:
        """Make what is sent of messages."""
        chance = self._chance
        count = chance.choice((0, 1, 1, 1, 1, 1, 1, 2, 5, 400))
        whole = b"".join(self._framed(self.message(method.descriptor.input_type)) for _ in range(count))
        if chance.random() < 0.15:
            at = chance.randrange(len(whole) + 1)
            whole = whole[:at] + chance.randbytes(chance.randrange(4)) + whole[at + chance.choice((0, 1, 50)) :]
        return whole[: chance.randrange(len(whole) + 1)] if chance.random() < 0.1 else whole

    def _framed(self, data: bytes) -> bytes:
        """Put a message behind its prefix, which may lie."""
        chance, flag, length = self._chance, 0, len(data)
        pick = chance.random()
        if pick < 0.08:
            flag, data = 1, chance.choice((gzip.compress(data), zlib.compress(data), data, *_bombs()))
            length = len(data)
        elif pick < 0.16:
            length = chance.choice((*_LENGTHS, len(data) + 1, max(0, len(data) - 1)))
        elif pick < 0.2:
            flag = chance.choice((1, 2, 128, 255))
        return PREFIX.pack(flag, length) + data

    def message(self, descriptor: Descriptor) -> bytes:
        """Make a message of a type, or what is none."""
        chance = self._chance
        ways: Sequence[Callable[[], bytes]] = (
            *[lambda: self._filled(descriptor)] * 8,
            *[lambda: self._mixed(self._filled(descriptor))] * 3,
            lambda: chance.randbytes(chance.choice((1, 10, 100, 1000))),
            self._unknown,
            lambda: self._deep(descriptor),
            lambda: self._many(descriptor),
            lambda: b"",
        )
        return chance.choice(ways)()

    def _filled(self, descriptor: Descriptor) -> bytes:
        message = GetMessageClass(descriptor)()
        self._fill(message, self._chance.choice((0.2, 0.5, 0.9)), 0)
        data: bytes = message.SerializePartialToString()
        return data

    def _fill(self, message: Any, share: float, depth: int) -> None:
        """Set some fields of a message."""
        chance = self._chance
        for field in message.DESCRIPTOR.fields:
            if chance.random() > share or depth > 6:
                continue
            value = getattr(message, field.name)
            if field.message_type is not None and field.message_type.GetOptions().map_entry:
                continue
            if field.is_repeated:
                for _ in range(chance.choice((0, 1, 1, 3, 30))):
                    if field.message_type is not None:
                        self._fill(value.add(), share / 2, depth + 1)
                    else:
                        value.append(self._scalar(field))
            elif field.message_type is not None:
                value.SetInParent()
                self._fill(value, share / 1.5, depth + 1)
            else:
                setattr(message, field.name, self._scalar(field))

    def _scalar(self, field: FieldDescriptor) -> object:
        chance, kind = self._chance, field.cpp_type
        if kind == FieldDescriptor.CPPTYPE_STRING:
            text = chance.choice(_JSON if "json" in field.name or "schema" in field.name else _TEXTS)
            return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text
        if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
            return chance.choice(_FLOATS) if kind == FieldDescriptor.CPPTYPE_DOUBLE else chance.choice(_FLOATS[:4])
        if kind == FieldDescriptor.CPPTYPE_BOOL:
            return chance.random() < 0.5
        if (enum := field.enum_type) is not None:
            return chance.choice([value.number for value in enum.values])
        signed = kind in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64)
        bits = 32 if kind in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_UINT32) else 64
        least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        return chance.choice([number for number in _INTEGERS if least <= number <= most])

    def _mixed(self, data: bytes) -> bytes:
        """Change some bytes."""
        chance = self._chance
        for _ in range(chance.choice((1, 1, 3))):
            at = chance.randrange(len(data) + 1)
            data = data[:at] + chance.choice((b"", b"\xff", b"\x80" * 12, chance.randbytes(1))) + data[at + 1 :]
        return data

    def _unknown(self) -> bytes:
        """Make fields of any number and type."""
        chance = self._chance
        pieces = []
        for _ in range(chance.choice((1, 10, 1000))):
            key = chance.choice((0, 1, 5, 100, 18999, 2**29 - 1)) << 3 | chance.randrange(8)
            pieces += [varint(key), chance.choice((b"\0", varint(2**64 - 1), b"\xff" * 11, b"\4abcd", bytes(8)))]
        return b"".join(pieces)

    def _deep(self, descriptor: Descriptor) -> bytes:
        """Nest groups, or fields in themselves, a thousand times."""
        chance = self._chance
        number = chance.choice([field.number for field in descriptor.fields] or [1])
        if chance.random() < 0.3:
            return varint(number << 3 | 3) * chance.choice((50, 99, 101, 5000))
        data = b""
        for _ in range(chance.choice((50, 99, 101, 2000))):
            data = varint(number << 3 | 2) + varint(len(data)) + data
        return data

    def _many(self, descriptor: Descriptor) -> bytes:
        """Repeat a field very often, packed or one by one."""
        chance = self._chance
        number = chance.choice([field.number for field in descriptor.fields] or [1])
        count = chance.choice((1000, 100_000, 1_000_000))
        if chance.random() < 0.5:
            return varint(number << 3 | 2) + varint(count) + b"\1" * count
        return (varint(number << 3) + b"\1") * (count // 4) + (varint(number << 3 | 2) + b"\0") * (count // 40)


def varint(number: int) -> bytes:
    """Write a number as protobuf does."""
    pieces = bytearray()
    while number > 0x7F:
        pieces.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*pieces, number])


def floods(chance: Random, path: bytes, head: Callable[[bytes], bytes]) -> Iterator[bytes]:
    """Make bytes of one kind of flood, behind the preface and empty settings.

    :param path: of a method.
    :param head: writes the fields of a call.
    """
    count = chance.choice((50, 500, 5000))
    block = head(path)
    kinds: Sequence[Callable[[], Iterator[bytes]]] = (
        # Streams that are opened and reset at once.
        lambda: (f(1, 4, n, block) + f(3, 0, n, b"\0\0\0\x08") for n in range(1, 2 * count, 2)),
        # Heads, of which none ends.
        lambda: iter([f(1, 0, 1, block[:9]), *[f(9, 0, 1, b"")] * count]),
        lambda: iter([f(1, 0, 1, block), *[f(9, 0, 1, b"\0\1a\1b" * 800)] * (count // 10)]),
        # The same large field many times over.
        lambda: iter([f(1, 4, 1, block + b"\x40\1a\x7f\x80\x1e" + b"x" * 3967 + b"\xbe" * 4000)]),
        lambda: iter([f(4, 0, 0, b"\0\4" + chance.randbytes(4))] * count),
        lambda: iter([f(4, 0, 0, b"\0\1" + bytes(4) + b"\0\3" + b"\xff" * 4) * 9] * (count // 10)),
        lambda: iter([f(6, 0, 0, b"12345678")] * count),
        lambda: iter([f(2, 0, 1, b"\0\0\0\1\1")] * count),
        lambda: iter([f(3, 0, 1, bytes(4))] * count),
        lambda: iter([f(7, 0, 0, bytes(8)), f(1, 5, 1, block)]),
        # No room, then too much.
        lambda: iter([f(4, 0, 0, b"\0\4" + bytes(4)), f(1, 4, 1, block), f(0, 1, 1, bytes(5))]),
        lambda: iter([f(8, 0, 0, b"\x7f\xff\xff\xff"), f(8, 0, 0, b"\x7f\xff\xff\xff")]),
        lambda: iter([f(1, 4, 1, block), f(8, 0, 1, bytes(4)), f(8, 0, 1, b"\x7f\xff\xff\xff") * 2]),
        # Pieces of one byte, of none, and of padding.
        lambda: iter([f(1, 4, 1, block), *[f(0, 0, 1, b"\0")] * count]),
        lambda: iter([f(1, 4, 1, block), *[f(0, 0, 1, b"")] * count]),
        lambda: iter([f(1, 4, 1, block), *[f(0, 8, 1, b"\xff" + bytes(255))] * min(count, 200)]),
        # Calls that never go on.
        lambda: (f(1, 4, n, block) for n in range(1, 2 * min(count, 500), 2)),
        lambda: (f(1, 4, n, block) + f(0, 1, n, PREFIX.pack(0, 0)) for n in range(1, 2 * min(count, 500), 2)),
        lambda: iter([f(5, 4, 1, b"\0\0\0\2" + block)]),
        lambda: iter([f(1, 4, 2, block), f(1, 4, 0, block), f(0, 1, 99, b"")]),
        lambda: iter([(2**24 - 1).to_bytes(3, "big") + b"\0\0\0\0\0\1", bytes(1 << 18)]),
    )
    yield from chance.choice(kinds)()


def f(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Write a frame of HTTP/2."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload
