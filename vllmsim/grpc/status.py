# -*- test-case-name: tests.grpc.test_status -*-
"""How a call went: the codes of gRPC, what an error is in them, and how that is told.

A call ends with two headers behind its last message: ``grpc-status`` has the code's number, and ``grpc-message``, where
there is anything to say, a text in UTF-8 of which every byte that is no printable ASCII, and ``%``, is written as ``%``
and two hexadecimal digits. Clients refuse headers that are too long, so that a long text is cut.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final

import orjson
from attrs import frozen

from vllmsim.errors import InferenceError

_LONGEST: Final = 2048
"""Bytes of a text as it is told: clients take heads of some 8 KiB altogether."""
_LONGEST_BODY: Final = 1 << 16
_PRINTED: Final = frozenset(range(0x20, 0x7F)) - {ord("%")}
_ESCAPED: Final = tuple(bytes([byte]) if byte in _PRINTED else b"%%%02X" % byte for byte in range(256))


class Code(IntEnum):
    """How a call went, as its status tells."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


_CODES: Final[Mapping[int, Code]] = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    408: Code.DEADLINE_EXCEEDED,
    409: Code.ABORTED,
    412: Code.FAILED_PRECONDITION,
    413: Code.RESOURCE_EXHAUSTED,
    416: Code.OUT_OF_RANGE,
    429: Code.RESOURCE_EXHAUSTED,
    499: Code.CANCELLED,
    500: Code.INTERNAL,
    501: Code.UNIMPLEMENTED,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
}
"""By the HTTP status of an error; any other is unknown."""


class CallError(InferenceError):
    """A call that cannot be served, where no HTTP status means the same.

    :param grpc_code: how its status tells it.
    :param status: what it would be over HTTP; below 500 it is the client's mistake.
    """

    kind = "CallError"

    def __init__(self, grpc_code: Code, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.grpc_code, self.status = grpc_code, status


@frozen
class Status:
    """How a call went, and why.

    :param message: a text for the client; empty for none.
    """

    code: Code
    message: str = ""

    @property
    def trailers(self) -> tuple[tuple[bytes, bytes], ...]:
        """The headers that tell it."""
        told = (b"grpc-status", b"%d" % self.code)
        return (told, (b"grpc-message", escaped(self.message))) if self.message else (told,)


FINE: Final = Status(Code.OK)


def status_of(error: InferenceError) -> Status:
    """Make the status of a call that has failed."""
    if isinstance(error, CallError):
        return Status(error.grpc_code, error.message)
    return Status(_CODES.get(error.status, Code.UNKNOWN), error.message)


def escaped(text: str) -> bytes:
    """Write a text as ``grpc-message`` has it; of one that is too long, the beginning."""
    pieces: list[bytes] = []
    left = _LONGEST
    # No character is less than a byte.
    for character in text[:_LONGEST]:
        piece = b"".join(_ESCAPED[byte] for byte in character.encode("utf-8", "replace"))
        left -= len(piece)
        if left < 0:
            break
        pieces.append(piece)
    return b"".join(pieces)


def told_in(body: bytes) -> str:
    """Find what a body of HTTP tells of an error: the message of one of the usual forms, or the body if it is text."""
    body = body[:_LONGEST_BODY]
    try:
        said: Any = orjson.loads(body)
    except ValueError:
        return body[:_LONGEST].decode("utf-8", "replace").strip()
    for name in ("error", "message", "detail"):
        if isinstance(said, Mapping) and name in said:
            said = said[name]
    return said if isinstance(said, str) else ""
