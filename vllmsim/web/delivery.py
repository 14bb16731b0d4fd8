# -*- test-case-name: tests.web.test_delivery -*-
"""Long bodies that are there at once: written as fast as the client reads, so that none is copied in one go."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from vllmsim.web.request import Request

_AT_ONCE: Final = 1 << 16
"""How many bytes are written without asking whether the client reads."""
_WORTHWHILE: Final = 1 << 14


async def deliver(request: Request, status: int, pieces: Sequence[bytes], content_type: bytes) -> None:
    """Write a whole response, the last piece when the client has read what is before it.

    :param pieces: the body's; each is short enough to be written at once.
    """
    length = sum(map(len, pieces))
    if length <= _AT_ONCE:
        request.answer(status, b"".join(pieces), content_type)
        return
    request.setResponseCode(status)
    request.setHeader(b"Content-Type", content_type)
    request.length = length
    for group in _grouped(pieces):
        await request.room()
        request.write(group)


def _grouped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Join short pieces: what writing costs is counted in pieces."""
    group: list[bytes] = []
    length = 0
    for piece in pieces:
        group.append(piece)
        length += len(piece)
        if length >= _WORTHWHILE:
            yield b"".join(group)
            group, length = [], 0
    if group:
        yield b"".join(group)
