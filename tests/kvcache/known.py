"""What those know who are told of blocks: which hashes there are, and how often."""

from collections import Counter

import msgpack
from attrs import define, field


@define(eq=False)
class KnownBlocks:
    """The blocks that there are, as far as one is told."""

    _counts: Counter[int] = field(factory=Counter)

    @property
    def known(self) -> dict[int, int]:
        """How many blocks go by each hash."""
        return dict(self._counts)

    def add(self, hashes: Counter[int] | dict[int, int] | list[int]) -> None:
        """Learn of more."""
        self._counts.update(hashes)

    def remove(self, block: int) -> None:
        """Learn that one is gone; there must be one."""
        assert self._counts[block] > 0, block
        self._counts[block] -= 1
        if not self._counts[block]:
            del self._counts[block]

    def clear(self) -> None:
        """Learn that there are none."""
        self._counts.clear()

    def read(self, payload: bytes) -> dict[int, int]:
        """Learn what a batch over ZeroMQ tells, whose events are arrays."""
        for event in msgpack.unpackb(payload)[1]:
            if event[0] == "AllBlocksCleared":
                self.clear()
            elif event[0] == "BlockStored":
                self.add(event[1])
            else:
                for block in event[1]:
                    self.remove(block)
        return self.known
