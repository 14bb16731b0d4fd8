# -*- test-case-name: tests.api.engine.test_wire -*-
"""Messages within messages, as protocol buffers write them, for those that are written before what they are in.

A field that is a message is its number and a 2 in one byte, the length of the message, and the message. Lengths are
written seven bits at a time, the lowest first; each byte but the last has its highest bit set.
"""

from typing import Final

_MESSAGE: Final = 2
_SEVEN: Final = 0x7F
_MORE: Final = 0x80


def enclosed(number: int, message: bytes) -> bytes:
    """Write a message as a field of another.

    :param number: the field's, at most 15.
    """
    length, key = len(message), bytearray((number << 3 | _MESSAGE,))
    while length > _SEVEN:
        key.append(length & _SEVEN | _MORE)
        length >>= 7
    key.append(length)
    return bytes(key) + message
