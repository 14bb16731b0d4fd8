# -*- test-case-name: tests.grpc.test_compression -*-
"""Messages that are compressed: ``gzip``, and ``deflate``, which is zlib's format, as in HTTP.

Which of the two it is says the header ``grpc-encoding``, and whether a message is compressed says its frame. Ours never
are. What is inflated is bounded, and comes in pieces, so that others get their turns.
"""

import zlib
from typing import Final

from twisted.internet.interfaces import IReactorTime

from vllmsim.grpc.framing import MessageTooLarge
from vllmsim.grpc.status import CallError, Code
from vllmsim.turns import Turn

IDENTITY: Final = b"identity"
ACCEPTED: Final = b"identity, deflate, gzip"
"""What ``grpc-accept-encoding`` tells clients."""
_WINDOWS: Final = {b"gzip": 16 + zlib.MAX_WBITS, b"deflate": zlib.MAX_WBITS}
_FED: Final = 1 << 14
_INFLATED: Final = 1 << 18
"""How many bytes are made at once: less than a millisecond."""


def check_encoding(encoding: bytes) -> None:
    """Refuse what nobody here can read.

    :param encoding: what messages that are compressed are compressed with.
    """
    if encoding != IDENTITY and encoding not in _WINDOWS:
        shown = encoding[:64].decode("latin-1")
        raise CallError(Code.UNIMPLEMENTED, f"Messages are compressed with {shown}, which is not known here.", 501)


async def inflated(data: bytes, encoding: bytes, limit: int, clock: IReactorTime) -> bytes:
    """Inflate a message.

    :param limit: how many bytes it may have then.
    :raises MessageTooLarge: when it has more.
    :raises CallError: when it is not compressed so.
    """
    if encoding not in _WINDOWS:
        raise CallError(Code.INTERNAL, "A message is compressed, and no header says with what.")
    turn = Turn(clock)
    inflater = zlib.decompressobj(_WINDOWS[encoding])
    pieces: list[bytes] = []
    room = limit
    for start in range(0, len(data), _FED):
        if inflater.eof:
            raise _broken()
        fed, full = data[start : start + _FED], True
        while fed or full:
            # One byte more than there is room for tells that there are too many; 0 would mean any number.
            most = min(_INFLATED, room + 1)
            try:
                piece = inflater.decompress(fed, most)
            except zlib.error:
                raise _broken() from None
            room -= len(piece)
            if room < 0:
                raise MessageTooLarge(limit)
            pieces.append(piece)
            # What was just made may have been all that there was room for, with more to come of the same bytes.
            fed, full = inflater.unconsumed_tail, len(piece) == most
            await turn.step()
    if not inflater.eof or inflater.unused_data:
        raise _broken()
    return b"".join(pieces)


def _broken() -> CallError:
    return CallError(Code.INTERNAL, "A message is not compressed with what the headers say.")
