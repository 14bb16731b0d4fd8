# -*- test-case-name: tests.kvcache.events.test_window -*-
"""The last batches of KV events, for those who missed them.

Batches are numbered without gaps, so that a number tells where a batch is. How many are kept is bounded, and so is how
large they are together: a batch has a few kilobytes as a rule, but the prompt of 32,768 tokens that fills its blocks at
once makes one of about 200 kB, and ten thousand of those would be two gigabytes.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from attrs import define, field
from zope.interface import implementer

from vllmsim.interfaces import IBlockEventPublisher

MOST_BYTES: Final = 256 << 20
"""How large all batches together may be."""


def _ignore(sequence: int, payload: bytes) -> None:
    """Let a batch go."""


@implementer(IBlockEventPublisher)
@define(eq=False)
class ReplayWindow:
    """Keeps the last batches.

    :param steps: the most that it keeps, at least one.
    :param size: the most bytes that they have together; the last one is kept in any case.
    :param end: the number of the next batch.
    """

    _steps: int
    _size: int = MOST_BYTES
    end: int = 0
    dropped: Callable[[int, bytes], object] = field(init=False, default=_ignore)
    """Hears of each batch that is kept no more: its number, and what was in it."""
    _batches: deque[bytes] = field(init=False, factory=deque)
    _kept: int = field(init=False, default=0)
    """How many bytes there are."""

    @property
    def begin(self) -> int:
        """The number of the oldest batch that is kept; :attr:`end` if there is none."""
        return self.end - len(self._batches)

    def publish(self, sequence: int, payload: bytes, events: int) -> None:
        """Keep a batch in the place of the oldest; see :class:`vllmsim.interfaces.IBlockEventPublisher`."""
        self._batches.append(payload)
        self._kept += len(payload)
        self.end = sequence + 1
        while len(self._batches) > self._steps or (self._kept > self._size and len(self._batches) > 1):
            gone = self._batches.popleft()
            self._kept -= len(gone)
            self.dropped(self.begin - 1, gone)

    def payload(self, sequence: int) -> bytes:
        """Find a batch.

        :param sequence: its number, from :attr:`begin` to before :attr:`end`.
        """
        return self._batches[sequence - self.begin]
