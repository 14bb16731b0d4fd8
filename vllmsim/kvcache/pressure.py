# -*- test-case-name: tests.kvcache.test_pressure -*-
"""KV blocks that are used and that no sequence has: what a cache is like that others fill.

Who keeps so many blocks from sequences comes before those that wait: what is free is taken at once, and what is missing
then as sequences give it back. What the blocks held is forgotten, as if sequences had taken them. A longest sequence
still finds room when nobody else runs, so that everyone is served in the end.
"""

from typing import Final

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from vllmsim.clocks.simulated import work_clock
from vllmsim.kvcache.pool import BlockPool

_AT_ONCE: Final = 256
"""How many blocks are taken or given back between two looks at the clock."""


@define(eq=False)
class Pressure:
    """Has a share of a pool's blocks.

    :param most: how many it may have.
    """

    _clock: IReactorTime = field(converter=work_clock)
    _pool: BlockPool
    _most: int
    _target: int = field(init=False, default=0)
    _blocks: list[int] = field(init=False, factory=list)
    """Those that it has, but for those that were never used by anybody."""

    @property
    def held(self) -> int:
        """How many blocks it has."""
        return self._pool.aside + len(self._blocks)

    @property
    def missing(self) -> int:
        """How many blocks are still to come."""
        return max(0, self._target - self.held)

    @property
    def settled(self) -> bool:
        """Whether it has what it wants, and no more."""
        return self.held == self._target

    def want(self, share: float) -> float:
        """Have another share from now on: it comes with :meth:`settle`.

        :param share: from 0 to 1.
        :return: the same, or what can be had at most if that is less.
        """
        usable = self._pool.usable
        wanted = round(share * usable)
        self._target = min(wanted, self._most)
        return share if self._target == wanted else self._target / usable

    def settle(self, end: float) -> bool:
        """Take what is missing and free, or give back what is too much.

        :param end: when to stop, by the clock.
        :return: whether nothing more can be done now.
        """
        pool = self._pool
        before = self.held
        # As if a sequence used them: blocks that nobody has ever used cost nothing.
        pool.set_aside(max(-pool.aside, min(self._target - before, pool.room)))
        while (step := min(self._target - self.held, pool.room, _AT_ONCE)) > 0 and self._clock.seconds() <= end:
            pool.promise(step)
            self._blocks += pool.take(step)
        while (surplus := self.held - self._target) > 0 and self._clock.seconds() <= end:
            first = max(0, len(self._blocks) - min(surplus, _AT_ONCE))
            pool.release(self._blocks[first:], 0)
            del self._blocks[first:]
        if self.held != before:
            pool.tell()
        return self.settled or (self.held < self._target and not pool.room)


def pressure_on(pool: BlockPool, clock: IReactorTime, longest: int | None, block_size: int) -> Pressure:
    """Make what has a share of a pool's blocks.

    :param longest: the most tokens that a sequence has, for which there is room in any case; None for as many as there
        is room for.
    :param block_size: tokens per block.
    """
    blocks = pool.usable if longest is None else -(-longest // block_size)
    return Pressure(clock, pool, max(0, pool.usable - blocks))
