# -*- test-case-name: tests.kvcache.events.test_batching -*-
"""Gathers KV events to batches, numbers these, and hands them to who publishes them.

A batch leaves in the reactor's next turn when there are events enough for it, and else when its first has waited long
enough. A prompt may evict and store thousands of blocks in one turn; they are written in slices, and what else the
reactor has to do comes between them. Meanwhile events wait here. If they become too many, whoever makes more of them
has to wait while a batch is written: so it is in vLLM too, and no event is ever lost on this side of the sockets.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from attrs import define, evolve, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from vllmsim.blockevents import BlockEvent
from vllmsim.clocks.simulated import work_clock
from vllmsim.inference import StoredBlocks
from vllmsim.interfaces import IBlockEventPublisher, IBlockListener, ICacheMetrics
from vllmsim.kvcache.events.encoding import BatchEncoder

_SLICE: Final = 0.001
"""Seconds that batches are written before other events are let in."""
_MOST_TOKENS: Final = 1 << 15
"""With so many tokens an event or a batch is full: they take more than half a millisecond to write."""
_MOST_BLOCKS: Final = 1 << 12
"""With so many blocks, too: that takes small ones to reach before, and some readers take each block by itself."""


@implementer(IBlockListener)
@define(eq=False)
class EventBatcher:
    """Makes batches of one rank's events.

    :param epoch: tells seconds since the epoch.
    :param publishers: take each batch, one after the other. While there are none, nothing is written, and each event
        counts as a batch that nobody has seen.
    :param block_size: tokens per block.
    :param batch_size: the most events in a batch.
    :param flush_interval: seconds that an event waits for others; 0 for the current turn of the reactor.
    :param max_queue_size: the most events that wait.
    """

    _clock: IReactorTime
    _epoch: Callable[[], float]
    _encoder: BatchEncoder
    _metrics: ICacheMetrics
    _publishers: list[IBlockEventPublisher]
    _block_size: int
    _batch_size: int
    _flush_interval: float
    _max_queue_size: int
    _events: deque[BlockEvent] = field(init=False, factory=deque)
    _due: int = field(init=False, default=0)
    """How many of them need not wait any longer."""
    sequence: int = field(init=False, default=0)
    """The number of the next batch."""
    _call: IDelayedCall | None = field(init=False, default=None)

    def join(self, publisher: IBlockEventPublisher) -> None:
        """Have somebody take the batches from the next on, after all others."""
        self._publishers.append(publisher)

    def stored(self, blocks: StoredBlocks) -> None:
        """Take blocks; those of a very long prompt as several events, as they come from vLLM too."""
        most = max(1, min(_MOST_BLOCKS, _MOST_TOKENS // self._block_size))
        if len(blocks.hashes) <= most:
            self._add(blocks)
            return
        for first in range(0, len(blocks.hashes), most):
            part = slice(first, first + most)
            self._add(
                evolve(
                    blocks,
                    hashes=blocks.hashes[part],
                    parent=blocks.hashes[first - 1] if first else blocks.parent,
                    ids=blocks.ids[first * self._block_size : (first + most) * self._block_size],
                    keys=blocks.keys[part],
                )
            )

    def removed(self, digest: bytes) -> None:
        """Take the digest of a block that is gone."""
        self._add(digest)

    def cleared(self) -> None:
        """Learn that all blocks are gone."""
        self._add(None)

    def flush(self) -> None:
        """Publish all that waits, now."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        while self._events:
            self._publish()

    def _add(self, event: BlockEvent) -> None:
        if not self._publishers:
            self.sequence += 1
            return
        if len(self._events) >= self._max_queue_size:
            self._publish()
        self._events.append(event)
        waiting = len(self._events) - self._due
        if waiting >= self._batch_size:
            self._due = len(self._events)
            self._schedule(0)
        elif waiting == 1:
            self._schedule(self._flush_interval)

    def _schedule(self, delay: float) -> None:
        if self._call is None:
            self._call = self._clock.callLater(delay, self._publish_slice)
        elif not delay:
            self._call.reset(0)

    def _publish_slice(self) -> None:
        self._call = None
        self._due = self._due or len(self._events)
        work = work_clock(self._clock)
        end = work.seconds() + _SLICE
        while self._due and work.seconds() < end:
            self._publish()
        if self._due:
            self._schedule(0)
        elif self._events:
            self._schedule(self._flush_interval)

    def _publish(self) -> None:
        batch: list[BlockEvent] = []
        tokens = 0
        most = min(_MOST_TOKENS, _MOST_BLOCKS * self._block_size)
        while self._events and len(batch) < self._batch_size and tokens < most:
            event = self._events.popleft()
            batch.append(event)
            if isinstance(event, StoredBlocks):
                tokens += len(event.ids)
        self._due = max(0, self._due - len(batch))
        payload = self._encoder.encode(self._epoch(), batch)
        sequence, self.sequence = self.sequence, self.sequence + 1
        self._metrics.events_published(len(batch))
        for publisher in self._publishers:
            publisher.publish(sequence, payload, len(batch))
