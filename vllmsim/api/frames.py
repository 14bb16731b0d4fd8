# -*- test-case-name: tests.api.test_frames -*-
"""The frames of gRPC's messages.

A body of gRPC is a row of messages, each behind five bytes: one that says whether the message is compressed (0 or 1),
and four with its length, the most significant first. A length has 32 bits, so that a message has less than 4 GiB.

This writes frames of messages that are not compressed. What reads frames, and what compresses, is delivery's.
"""

from struct import Struct

PREFIX = Struct(">BI")
"""What stands before a message: whether it is compressed (0 or 1), and its length in bytes."""


def frame(message: bytes) -> bytes:
    """Put a message in its frame.

    :param message: a message as it is serialized, less than 4 GiB
    :return: five bytes, and the message
    """
    return PREFIX.pack(0, len(message)) + message
