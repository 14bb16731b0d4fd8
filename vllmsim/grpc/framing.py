# -*- test-case-name: tests.grpc.test_framing -*-
"""Reads the messages of a call from its bytes, in whatever pieces these come.

How messages stand in their frames says :mod:`vllmsim.api.frames`. What is kept of a message that is not complete is no
more than has come of it, and one that is announced to be too long is refused before it comes.
"""

from collections.abc import Iterator
from typing import Final

from attrs import define, field, frozen

from vllmsim.api.frames import PREFIX
from vllmsim.grpc.status import CallError, Code

_FLAGS: Final = (0, 1)


@frozen
class Framed:
    """One message as it was sent.

    :param compressed: whether its data is compressed, as the call's headers say.
    """

    compressed: bool
    data: bytes


class MessageTooLarge(CallError):
    """A message is, or would be, longer than the server takes.

    :param limit: how many bytes that is.
    """

    kind = "Request Entity Too Large"

    def __init__(self, limit: int) -> None:
        super().__init__(Code.RESOURCE_EXHAUSTED, f"The message is larger than {limit} bytes.", 413)


@define(eq=False)
class MessageReader:
    """Reads what one side of a call sends.

    :param limit: how many bytes a message may have.
    """

    _limit: int
    _prefix: bytes = field(init=False, default=b"")
    _pieces: list[bytes] = field(init=False, factory=list)
    _compressed: bool = field(init=False, default=False)
    _missing: int | None = field(init=False, default=None)
    """How many bytes of a message are yet to come; None between messages."""

    @property
    def between(self) -> bool:
        """Whether everything that has come is complete."""
        return self._missing is None and not self._prefix

    def feed(self, data: bytes) -> Iterator[Framed]:
        """Take some bytes, and list the messages that are complete with them.

        Who stops before the last of them can have no more read.

        :raises CallError: when the bytes are no messages.
        :raises MessageTooLarge: when one is announced that is too long.
        """
        start = 0
        while True:
            if self._missing is None:
                rest = PREFIX.size - len(self._prefix)
                self._prefix += data[start : start + rest]
                start += rest
                if len(self._prefix) < PREFIX.size:
                    return
                self._begin()
            assert self._missing is not None
            piece = data[start : start + self._missing]
            start += len(piece)
            self._missing -= len(piece)
            self._pieces.append(piece)
            if self._missing:
                return
            message = Framed(self._compressed, b"".join(self._pieces))
            self._pieces.clear()
            self._missing = None
            yield message

    def _begin(self) -> None:
        """Begin a message whose prefix is there."""
        flag, length = PREFIX.unpack(self._prefix)
        self._prefix = b""
        if flag not in _FLAGS:
            raise CallError(Code.INTERNAL, f"A message has the flags {flag}, which mean nothing.")
        if length > self._limit:
            raise MessageTooLarge(self._limit)
        self._compressed, self._missing = bool(flag), length
