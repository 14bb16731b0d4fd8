# -*- test-case-name: tests.kvcache.steps.test_cache -*-
"""The KV cache of a rank that goes in steps, from which its scheduler takes blocks.

Nobody is promised anything: a sequence has the blocks of its tokens that are computed, and a step takes more. So blocks
may run out while sequences run, and the scheduler decides who loses its own.
"""

from collections.abc import Callable, Sequence

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall
from zope.interface import implementer

from vllmsim.inference import HashedPrompt
from vllmsim.interfaces import IStepBlocks, IStepCache
from vllmsim.kvcache.pooled import PooledCache
from vllmsim.kvcache.pressure import Pressure, pressure_on
from vllmsim.kvcache.steps.blocks import StepBlocks, StepBooks
from vllmsim.kvcache.steps.events import StepEvents
from vllmsim.turns import TURN


@implementer(IStepCache)
@define(eq=False)
class StepCache(PooledCache):
    """Keeps the books of a rank's blocks.

    :param events: hears of the blocks of `pool`, and tells others at the end of each step.
    :param outside: whether there is a cache outside this server that prompts are looked up in.
    :param longest: the most tokens that a sequence has; None for as many as there is room for.
    :param rank: the data-parallel rank whose it is.
    :param drops: whether the last block that is found of a prefix is computed again, for what guesses tokens.
    """

    _events: StepEvents
    _outside: bool = False
    _longest: int | None = None
    _rank: int = 0
    _drops: bool = False
    _pressure: Pressure = field(init=False)
    _books: StepBooks = field(init=False)
    _turn: IDelayedCall | None = field(init=False, default=None)
    """What goes on using blocks, or giving them back."""
    _preempt: Callable[[], object] = field(init=False, default=lambda: None)

    @_pressure.default
    def _make_pressure(self) -> Pressure:
        return pressure_on(self._pool, self._clock, self._longest, self._block_size)

    @_books.default
    def _make_books(self) -> StepBooks:
        return StepBooks(
            self._pool,
            self._block_size,
            self._hasher,
            self._metrics,
            self._pressure,
            self._outside,
            self._rank,
            self._drops,
        )

    @property
    def running(self) -> int:
        """How many sequences have blocks."""
        return len(self._books.holders)

    def open(self, prompt: HashedPrompt, answer: Sequence[int], reads: bool, remote_tokens: int) -> IStepBlocks:
        """Make what keeps the blocks of a sequence; see :class:`vllmsim.interfaces.IStepCache`."""
        return StepBlocks(self._books, prompt, answer, reads, remote_tokens)

    def begin(self) -> None:
        """Learn that a step is about to be scheduled."""
        self._events.begin()
        if self._turn is None and not self._pressure.settled:
            self._settle()

    def scheduled(self) -> None:
        """Tell how many blocks there are of each kind."""
        self._pool.tell()

    def end(self) -> None:
        """Tell what a step has done."""
        self._events.end()
        self._pool.tell()

    def preempting(self, preempt: Callable[[], object]) -> None:
        """Learn who takes all blocks from sequences."""
        self._preempt = preempt

    def reset(self, running: bool) -> bool:
        """Forget what blocks hold; see :class:`vllmsim.interfaces.IPrefixCache`."""
        if self._books.holders and not running:
            return False
        self._preempt()
        self._pool.clear()
        self._pool.tell()
        return True

    def occupy(self, share: float) -> float:
        """Have blocks used by nobody; see :class:`vllmsim.interfaces.IPrefixCache`."""
        occupied = self._pressure.want(share)
        if self._turn is None:
            self._settle()
        return occupied

    def _settle(self) -> None:
        """Use blocks that are free, or give back those that are too many; others have their turn in between."""
        self._turn = None
        if not self._pressure.settle(self._clock.seconds() + TURN):
            self._turn = self._clock.callLater(0, self._settle)
