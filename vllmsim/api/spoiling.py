# -*- test-case-name: tests.api.test_spoiling -*-
"""Answers as what spoils them sees them: rows of frames, of which each can be made one that nobody can read.

Over HTTP they are JSON: a stream is made of events with the blank line behind them, and an answer in one piece is one
value. Over gRPC, both are rows of messages, each behind its length.
"""

from collections.abc import Callable
from typing import Final

from attrs import frozen

from vllmsim.api.frames import PREFIX

_BLANK: Final = b"\n\n"
_NO_FIELD: Final = b"\x07"
"""What no message begins with: it is of no type that there is."""


@frozen(eq=False)
class Spoiling:
    """How answers of one kind are spoilt.

    :param frames: cuts what is written of a stream into its frames.
    :param malformed: makes a frame, or a whole answer, one that cannot be read; it is not longer then.
    """

    frames: Callable[[bytes], list[bytes]]
    malformed: Callable[[bytes], bytes]


def _events(data: bytes) -> list[bytes]:
    """Cut events from each other."""
    return [event + _BLANK for event in data.split(_BLANK)[:-1]]


def malformed_json(data: bytes) -> bytes:
    """Make JSON, in an event or alone, what is none: what it closes last is not what it opened first."""
    text = data.removesuffix(_BLANK)
    return text[:-1] + (b"}" if text.endswith(b"]") else b"]") + data[len(text) :]


def _messages(data: bytes) -> list[bytes]:
    """Cut messages from each other."""
    frames, start = [], 0
    while start < len(data):
        _, length = PREFIX.unpack_from(data, start)
        stop = start + PREFIX.size + length
        frames.append(data[start:stop])
        start = stop
    return frames


def malformed_message(data: bytes) -> bytes:
    """Make the first message of some what is none, of the same length: its first field has no type."""
    first = PREFIX.size
    return data[:first] + _NO_FIELD + data[first + 1 :] if len(data) > first else data


EVENTS: Final = Spoiling(_events, malformed_json)
"""Answers over HTTP."""
MESSAGES: Final = Spoiling(_messages, malformed_message)
"""Answers over gRPC."""
