# -*- test-case-name: tests.test_hashing -*-
"""Hashes that are on the wire."""

from typing import Final

_FNV_OFFSET: Final = 2166136261
_FNV_PRIME: Final = 16777619


def fnv1a_32(text: str) -> int:
    """Hash a text's UTF-8 bytes with 32-bit FNV-1a.

    :return: from 0 to 2**32 - 1.
    """
    value = _FNV_OFFSET
    for byte in text.encode("utf-8", "surrogatepass"):
        value = ((value ^ byte) * _FNV_PRIME) & 0xFFFFFFFF
    return value
