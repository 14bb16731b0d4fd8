# -*- test-case-name: tests.web.http2.test_frames -*-
"""The frames that HTTP/2 is made of, as far as connections look at them themselves.

Each begins with 9 bytes: the length of what follows those (24 bits), a kind, flags, and the number of the stream that
it belongs to (31 bits; 0 for the connection). Most are left to h2. Those that say how much may be sent, and those that
carry what is sent, are looked at here, as they are many; and those that say goodbye, after which h2 would let no stream
come to its end.
"""

from struct import Struct
from typing import Final, NamedTuple

from vllmsim.web.doorway import PREFACE

DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9
END_STREAM: Final = 1
END_HEADERS: Final = 4
LARGEST_WINDOW: Final = (1 << 31) - 1
_LARGEST_NUMBER: Final = (1 << 31) - 1

_HEAD: Final = Struct(">HBBBL")
_HEAD_LENGTH: Final = _HEAD.size
_GOODBYE: Final = Struct(">LL")
GOODBYE_LENGTH: Final = _GOODBYE.size
INCREMENT_LENGTH: Final = 4
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


class NoFrames(Exception):
    """What comes is no HTTP/2."""


class FrameTooLong(Exception):
    """A frame is longer than was allowed."""


class Frames:
    """Cuts what comes into frames.

    :param largest: how long one may be, without its first 9 bytes.
    """

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._data = b""
        self._at = 0
        self._begun = False

    def feed(self, data: bytes) -> None:
        """Take some bytes, behind those that came before."""
        self._data = self._data[self._at :] + data if self._at < len(self._data) else data
        self._at = 0

    @property
    def waits(self) -> bool:
        """Whether a frame has begun and is not complete."""
        return self._at < len(self._data)

    def next(self) -> Frame | None:
        """Take the next frame off.

        :return: None while it is not complete.
        :raises NoFrames: when the first bytes are not those that HTTP/2 begins with.
        :raises FrameTooLong: when it is.
        """
        if not self._begun and not self._begin():
            return None
        data, at = self._data, self._at
        if len(data) - at < _HEAD_LENGTH:
            return None
        high, low, kind, flags, stream = _HEAD.unpack_from(data, at)
        length = high << 8 | low
        if length > self._largest:
            raise FrameTooLong
        end = at + _HEAD_LENGTH + length
        if len(data) < end:
            return None
        self._at = end
        return Frame(kind, flags, stream & _LARGEST_NUMBER, data[at:end])

    def _begin(self) -> bool:
        """Read the preface."""
        begun = self._data[: len(PREFACE)]
        if begun != PREFACE[: len(begun)]:
            raise NoFrames
        self._begun = len(begun) == len(PREFACE)
        self._at = len(PREFACE) if self._begun else 0
        return self._begun
