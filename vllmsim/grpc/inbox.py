# -*- test-case-name: tests.grpc.test_inbox -*-
"""The messages that a client streams in, between their arrival and whoever reads them."""

from collections import deque
from typing import Final

from attrs import define, field
from twisted.internet.defer import Deferred

from vllmsim.errors import InferenceError
from vllmsim.grpc.framing import Framed
from vllmsim.grpc.status import CallError, Code

MOST: Final = 256
"""How many messages wait at most."""


@define(eq=False)
class Inbox:
    """Messages that have come and are not read.

    :param limit: how many bytes of them wait at most.
    """

    _limit: int
    _bytes: int = field(init=False, default=0)
    _waiting: deque[Framed] = field(init=False, factory=deque)
    _ended: bool = field(init=False, default=False)
    _error: InferenceError | None = field(init=False, default=None)
    _reader: Deferred[None] | None = field(init=False, default=None)

    def put(self, message: Framed) -> None:
        """Take a message.

        :raises CallError: when too many wait.
        """
        self._bytes += len(message.data)
        if len(self._waiting) == MOST or (self._waiting and self._bytes > self._limit):
            text = f"More messages have come than are read: {MOST}, or {self._limit} bytes, may wait."
            raise CallError(Code.RESOURCE_EXHAUSTED, text, 429)
        self._waiting.append(message)
        self._wake()

    def end(self, error: InferenceError | None = None) -> None:
        """Learn that no more will come, and why if that is not as it should be. Only the first end counts."""
        if not self._ended:
            self._ended, self._error = True, error
            self._wake()

    def _wake(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.callback(None)

    async def get(self) -> Framed | None:
        """Wait for the next message.

        :return: None behind the last.
        :raises InferenceError: why no more will come. Messages that have come are not read then.
        """
        while True:
            if self._error is not None:
                raise self._error
            if self._waiting:
                message = self._waiting.popleft()
                self._bytes -= len(message.data)
                return message
            if self._ended:
                return None
            self._reader = Deferred(self._forget)
            await self._reader

    def _forget(self, _: object) -> None:
        self._reader = None
