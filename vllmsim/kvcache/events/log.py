# -*- test-case-name: tests.kvcache.events.test_log -*-
"""The batches of KV events of one rank, for those who read them in this process, each at a pace of its own.

A reader has a place in the row of batches and nothing else, so that one who stops costs nothing: when what is kept has
moved beyond its place, it has lost some and can tell so by their numbers. What is kept is bounded in number and size;
beside it there are the blocks that all batches have left, so that whoever comes late can have those first: they go on
with the next batch, and have as much time for that as there can be.

Nothing of this is done before somebody watches for the first time. Where batches are kept for the replay socket anyhow,
those are there then; otherwise the row begins with the next batch.
"""

from collections.abc import Callable
from typing import Final

from attrs import define, field
from zope.interface import implementer

from vllmsim.blockevents import BlockPicture, EventBatch
from vllmsim.interfaces import IBlockEventLog, IBlockEventPublisher
from vllmsim.kvcache.events.batching import EventBatcher
from vllmsim.kvcache.events.decoding import decode
from vllmsim.kvcache.events.standing import StandingBlocks
from vllmsim.kvcache.events.window import ReplayWindow

_MOST_BYTES: Final = 64 << 20
"""How large all batches may be that are kept here alone."""
_AT_ONCE: Final = 2
"""How many batches are learned when one is published."""


@implementer(IBlockEventLog, IBlockEventPublisher)
@define(eq=False)
class BlockEventLog:
    """Keeps the last batches, and what was there before them.

    :param rank: its number.
    :param block_size: tokens per block.
    :param epoch: tells seconds since the epoch.
    :param steps: how many batches are kept, at most.
    :param batcher: makes them.
    :param window: keeps them already, if somebody does.
    """

    rank: int
    block_size: int
    epoch: Callable[[], float]
    _steps: int
    _batcher: EventBatcher
    _window: ReplayWindow | None = None
    _is_own: bool = field(init=False, default=True)
    _begun: bool = field(init=False, default=False)
    _unknown: int = field(init=False, default=0)
    _learned: int = field(init=False, default=0)
    """The first batch whose blocks are not remembered."""
    _standing: StandingBlocks = field(init=False)
    _watchers: dict[object, Callable[[], object]] = field(init=False, factory=dict)
    closed: bool = field(init=False, default=False)
    """Whether there will be no more batches."""

    @_standing.default
    def _make_standing(self) -> StandingBlocks:
        return StandingBlocks(self.block_size)

    @property
    def begin(self) -> int:
        """The number of the oldest batch that is kept; :attr:`end` if there is none."""
        return self._batcher.sequence if self._window is None else self._window.begin

    @property
    def end(self) -> int:
        """The number of the next batch."""
        return self._batcher.sequence if self._window is None else self._window.end

    def watch(self, told: Callable[[], object]) -> Callable[[], None]:
        """Have somebody told of news; see :class:`vllmsim.interfaces.IBlockEventLog`."""
        if not self._begun:
            self._begin()
        key = object()
        self._watchers[key] = told

        def leave() -> None:
            self._watchers.pop(key, None)

        return leave

    def read(self, sequence: int) -> EventBatch:
        """Find a batch; see :class:`vllmsim.interfaces.IBlockEventLog`."""
        assert self._window is not None
        return decode(self._window.payload(sequence), sequence)

    def picture(self) -> BlockPicture:
        """Tell what there is; see :class:`vllmsim.interfaces.IBlockEventLog`."""
        return self._standing.picture(self._learned - 1, self._unknown)

    def publish(self, sequence: int, payload: bytes, events: int) -> None:
        """Keep a batch; see :class:`vllmsim.interfaces.IBlockEventPublisher`."""
        if self._is_own and self._window is not None:
            self._window.publish(sequence, payload, events)
        # Those that were kept already when somebody watched first are learned bit by bit.
        for _ in range(_AT_ONCE):
            self._learn()
        self._tell()

    def close(self) -> None:
        """Have nobody wait for more; what waits to be written is written before. Harmless when it is done."""
        if not self.closed:
            self._batcher.flush()
            self.closed = True
            self._tell()

    def _begin(self) -> None:
        self._begun = True
        self._batcher.join(self)
        if self._window is None:
            self._window = ReplayWindow(self._steps, _MOST_BYTES, end=self._batcher.sequence)
        else:
            self._is_own = False
        self._unknown = self._learned = self._window.begin
        self._window.dropped = self._drop

    def _learn(self) -> None:
        if self._window is not None and self._learned < self._window.end:
            self._standing.fold(self.read(self._learned).events)
            self._learned += 1

    def _drop(self, sequence: int, payload: bytes) -> None:
        if sequence == self._learned:
            self._standing.fold(decode(payload, sequence).events)
            self._learned += 1

    def _tell(self) -> None:
        for told in tuple(self._watchers.values()):
            told()
