"""Stand-ins for who takes KV events, and for who counts them."""

from collections.abc import Sequence
from typing import Any

import msgpack
from attrs import define, field
from zope.interface import implementer

from vllmsim.interfaces import IBlockEventPublisher, ICacheMetrics


@implementer(IBlockEventPublisher)
@define(eq=False)
class RecordingPublisher:
    """Remembers batches."""

    batches: list[tuple[int, bytes, int]] = field(factory=list)

    def publish(self, sequence: int, payload: bytes, events: int) -> None:
        """Remember a batch."""
        self.batches.append((sequence, payload, events))

    def read(self) -> list[list[Any]]:
        """Read the events of each batch, and forget them."""
        batches, self.batches = self.batches, []
        return [msgpack.unpackb(payload)[1] for _, payload, _ in batches]


@implementer(ICacheMetrics)
@define(eq=False)
class EventCounts:
    """Counts events alone."""

    published: list[int] = field(factory=list)
    dropped: int = 0

    def prefix_looked_up(self, tokens: int, hits: int) -> None:
        """Nobody looks anything up here."""
        raise AssertionError

    def external_looked_up(self, tokens: int, hits: int) -> None:
        """Nobody looks anything up here."""
        raise AssertionError

    def blocks_counted(self, used: int, cached: int, usable: int) -> None:
        """There are no blocks here."""
        raise AssertionError

    def block_evicted(self, lifetime: float, idle: float, reuse_gaps: Sequence[float]) -> None:
        """There are no blocks here."""
        raise AssertionError

    def events_published(self, events: int) -> None:
        """Remember the length of a batch."""
        self.published.append(events)

    def events_dropped(self, events: int) -> None:
        """Count events."""
        self.dropped += events
