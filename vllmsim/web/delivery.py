# -*- test-case-name: tests.web.test_delivery -*-
"""Long bodies that are there at once: written as fast as the client reads, so that none is copied in one go."""

from collections.abc import Iterable, Iterator, Sequence
from http import HTTPStatus
from typing import Final

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from vllmsim.web.request import Request

_AT_ONCE: Final = 1 << 16
"""How many bytes are written without asking whether the client reads."""
_WORTHWHILE: Final = 1 << 14


def deliver(request: Request, status: int, pieces: Sequence[bytes], content_type: bytes) -> Deferred[None]:
    """Write a whole response.

    :param pieces: the body's; each is short enough to be written at once.
    :return: fires when the last piece is on its way. Cancelling it ends the writing.
    """
    length = sum(map(len, pieces))
    if length <= _AT_ONCE:
        request.answer(status, b"".join(pieces), content_type)
        return succeed(None)
    request.setResponseCode(status, HTTPStatus(status).phrase.encode())
    request.setHeader(b"Content-Type", content_type)
    request.setHeader(b"Content-Length", b"%d" % length)
    writing = Writing(request, _grouped(pieces))
    request.registerProducer(writing, True)
    writing.resumeProducing()
    return writing.done


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


@implementer(IPushProducer)
@define(eq=False)
class Writing:
    """Writes pieces until the connection has enough, and goes on when it has room."""

    _request: Request
    _pieces: Iterator[bytes]
    _paused: bool = field(init=False, default=True)
    done: Deferred[None] = field(init=False)
    """Fires after the last piece."""

    @done.default
    def _make_done(self) -> Deferred[None]:
        return Deferred(lambda _: self._end())

    def resumeProducing(self) -> None:
        """Write until there is enough."""
        self._paused = False
        while not self._paused:
            piece = next(self._pieces, None)
            if piece is None:
                self._end()
                self.done.callback(None)
                return
            self._request.write(piece)

    def pauseProducing(self) -> None:
        """Write no more for now."""
        self._paused = True

    def stopProducing(self) -> None:
        """Write no more at all; the request learns that its client is gone by itself."""
        self._paused = True

    def _end(self) -> None:
        self._paused = True
        if not self._request.gone:
            self._request.unregisterProducer()
