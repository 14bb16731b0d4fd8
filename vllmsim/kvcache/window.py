# -*- test-case-name: tests.kvcache.test_window -*-
"""The last batches of KV events, for those who missed them.

Batches are numbered without gaps, so that a number tells where a batch is. How many are kept is the only bound on
memory: a batch has a few kilobytes as a rule, but the prompt of 32,768 tokens that fills its blocks at once makes one
of about 200 kB.
"""

from attrs import define, field
from zope.interface import implementer

from vllmsim.interfaces import IBlockEventPublisher


@implementer(IBlockEventPublisher)
@define(eq=False)
class ReplayWindow:
    """Keeps the last batches.

    :param steps: the most that it keeps, at least one.
    """

    _steps: int
    _ring: list[bytes] = field(init=False, factory=list)
    end: int = field(init=False, default=0)
    """The number of the next batch."""

    @property
    def begin(self) -> int:
        """The number of the oldest batch that is kept; :attr:`end` if there is none."""
        return self.end - len(self._ring)

    def publish(self, sequence: int, payload: bytes, events: int) -> None:
        """Keep a batch in the place of the oldest; see :class:`vllmsim.interfaces.IBlockEventPublisher`."""
        if len(self._ring) < self._steps:
            self._ring.append(payload)
        else:
            self._ring[sequence % self._steps] = payload
        self.end = sequence + 1

    def payload(self, sequence: int) -> bytes:
        """Find a batch.

        :param sequence: its number, from :attr:`begin` to before :attr:`end`.
        """
        return self._ring[sequence % self._steps]
