# -*- test-case-name: tests.web.http2.test_frames -*-
"""The frames that HTTP/2 is made of, as far as connections look at them themselves.

Each begins with 9 bytes: the length of what follows those (24 bits), a kind, flags, and the number of the stream that
it belongs to (31 bits; 0 for the connection). Most are left to h2. Those that say how much may be sent, and those that
carry what is sent, are looked at here, as they are many; and those that say goodbye, after which h2 would let no stream
come to its end.
"""

from struct import Struct
from typing import Final, NamedTuple

from h2.errors import ErrorCodes

from vllmsim.web.doorway import PREFACE

DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9
END_STREAM: Final = 1
END_HEADERS: Final = 4
LARGEST_WINDOW: Final = (1 << 31) - 1
LARGEST_NUMBER: Final = (1 << 31) - 1
"""The last stream that there can be."""

_HEAD: Final = Struct(">HBBBL")
_HEAD_LENGTH: Final = _HEAD.size
_GOODBYE: Final = Struct(">LL")
GOODBYE_LENGTH: Final = _GOODBYE.size
INCREMENT_LENGTH: Final = 4
_PING_LENGTH: Final = 8
_SETTING: Final = 6
OF_HEADS: Final = frozenset({HEADERS, PUSH_PROMISE, CONTINUATION})
_USEFUL: Final = frozenset({HEADERS, CONTINUATION, RST_STREAM, GOAWAY})
_pack_head = _HEAD.pack


class Frame(NamedTuple):
    """One frame.

    :param data: all its bytes, the first 9 too.
    """

    kind: int
    flags: int
    stream: int
    data: bytes

    @property
    def payload(self) -> bytes:
        """What is behind its first 9 bytes."""
        return self.data[_HEAD_LENGTH:]

    @property
    def vanity(self) -> int:
        """How much it asks for that brings no request forward, and ends none."""
        if self.kind in _USEFUL or (self.kind == DATA and (self.length or self.flags & END_STREAM)):
            return 0
        return 1 + self.length // _SETTING if self.kind == SETTINGS else 1

    @property
    def length(self) -> int:
        """How many bytes that has."""
        return len(self.data) - _HEAD_LENGTH


def data_frame(stream: int, piece: bytes, flags: int = 0) -> bytes:
    """Write a frame with a piece of a body."""
    length = len(piece)
    return _pack_head(length >> 8, length & 255, DATA, flags, stream) + piece


def goaway_frame(last: int, code: int) -> bytes:
    """Write a frame that says goodbye.

    :param last: the last stream that is answered.
    """
    return _pack_head(0, _GOODBYE.size, GOAWAY, 0, 0) + _GOODBYE.pack(last, code)


def ping_frame() -> bytes:
    """Write a frame that has to be answered."""
    return _pack_head(0, _PING_LENGTH, PING, 0, 0) + bytes(_PING_LENGTH)


class Broken(Exception):
    """A client breaks the protocol, or sends too much of what is no use.

    :param code: what to call that.
    """

    def __init__(self, code: ErrorCodes, why: str) -> None:
        super().__init__(why)
        self.code = code


class Frames:
    """Cuts what comes into frames.

    :param largest: how long one may be, without its first 9 bytes.
    :param head_bytes: how long all together may be that carry one head.
    """

    def __init__(self, largest: int, head_bytes: int) -> None:
        self._largest = largest
        self._head_bytes = head_bytes
        self._data = b""
        self._at = 0
        self._begun = False
        self._block_bytes = 0
        self.in_block = False
        """Whether more frames must follow that carry the same head."""

    def feed(self, data: bytes) -> None:
        """Take some bytes, behind those that came before."""
        self._data = self._data[self._at :] + data if self._at < len(self._data) else data
        self._at = 0

    @property
    def waits(self) -> bool:
        """Whether a frame, or a head, has begun and is not complete."""
        return self.in_block or self._at < len(self._data)

    def next(self) -> Frame | None:
        """Take the next frame off.

        :return: None while it is not complete.
        :raises Broken: when there is none, or it is too long.
        """
        if not self._begun and not self._begin():
            return None
        data, at = self._data, self._at
        if len(data) - at < _HEAD_LENGTH:
            return None
        high, low, kind, flags, stream = _HEAD.unpack_from(data, at)
        length = high << 8 | low
        if length > self._largest:
            raise Broken(ErrorCodes.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
        end = at + _HEAD_LENGTH + length
        if len(data) < end:
            return None
        self._at = end
        if kind in OF_HEADS:
            self._follow(kind, flags, length)
        return Frame(kind, flags, stream & LARGEST_NUMBER, data[at:end])

    def _begin(self) -> bool:
        """Read the preface."""
        begun = self._data[: len(PREFACE)]
        if begun != PREFACE[: len(begun)]:
            raise Broken(ErrorCodes.PROTOCOL_ERROR, "no preface")
        self._begun = len(begun) == len(PREFACE)
        self._at = len(PREFACE) if self._begun else 0
        return self._begun

    def _follow(self, kind: int, flags: int, length: int) -> None:
        """Learn of a frame that carries a head, or a part of one."""
        self._block_bytes = length + (self._block_bytes if kind == CONTINUATION else 0)
        self.in_block = not flags & END_HEADERS
        if self._block_bytes > self._head_bytes:
            raise Broken(ErrorCodes.ENHANCE_YOUR_CALM, "a head that is too large")
