# -*- test-case-name: tests.kvcache.steps.test_events -*-
"""What happens to blocks during a step is told at its end, as vLLM does."""

from collections.abc import Callable, Sequence

from attrs import define, field
from zope.interface import implementer

from vllmsim.blockevents import BlockEvent
from vllmsim.inference import StoredBlocks
from vllmsim.interfaces import IBlockListener


@implementer(IBlockListener)
@define(eq=False)
class StepEvents:
    """Stands between a pool of blocks and its listeners.

    :param listeners: hear in order what happens to blocks.
    :param told: is called when all that a step has done is told, if that was anything.
    """

    _listeners: Sequence[IBlockListener]
    _told: Callable[[], object] = lambda: None
    gathering: bool = field(init=False, default=False)
    """Whether a step runs, so that nothing is told yet."""
    _events: list[BlockEvent] = field(init=False, factory=list)

    def begin(self) -> None:
        """Tell nothing from now on."""
        self.gathering = True

    def end(self) -> None:
        """Tell all that has happened, and whatever happens at once from now on."""
        self.gathering = False
        if not self._events:
            return
        events, self._events = self._events, []
        for event in events:
            self._tell(event)
        self._told()

    def stored(self, blocks: StoredBlocks) -> None:
        """Learn that blocks became full."""
        self._take(blocks)

    def removed(self, digest: bytes) -> None:
        """Learn that a block was given to another sequence."""
        self._take(digest)

    def cleared(self) -> None:
        """Learn that no block can be found any more."""
        self._take(None)

    def _take(self, event: BlockEvent) -> None:
        if self.gathering:
            self._events.append(event)
        else:
            self._tell(event)

    def _tell(self, event: BlockEvent) -> None:
        for listener in self._listeners:
            if event is None:
                listener.cleared()
            elif isinstance(event, bytes):
                listener.removed(event)
            else:
                listener.stored(event)
