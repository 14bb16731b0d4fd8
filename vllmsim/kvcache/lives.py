# -*- test-case-name: tests.kvcache.test_lives -*-
"""How long KV blocks live, measured on a share of them.

A life begins when a block is taken for new content and ends when it is taken for other content. Whenever a sequence
finds the block in between it is used. Of blocks that are not measured nothing is kept.
"""

import random
from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from vllmsim.interfaces import ICacheMetrics

_MOST_USES: Final = 4
"""How many of its uses are kept of each life; the last ones."""


@define(eq=False)
class _Life:
    """One block's.

    :param begun: when it was taken.
    """

    begun: float
    uses: deque[float] = field(init=False, factory=lambda: deque(maxlen=_MOST_USES))


@define(eq=False)
class BlockLives:
    """Measures the lives of some blocks.

    :param share: of how many, from 0 to 1.
    :param generator: chooses which.
    """

    _clock: IReactorTime
    _share: float
    _generator: random.Random
    _metrics: ICacheMetrics
    _lives: dict[int, _Life] = field(init=False, factory=dict)

    def take(self, blocks: Sequence[int]) -> None:
        """End the lives of blocks, and begin new ones."""
        now, lives, draw = self._clock.seconds(), self._lives, self._generator.random
        if lives:
            for life in filter(None, [lives.pop(block, None) for block in blocks]):
                last = life.uses[-1] if life.uses else life.begun
                gaps = [later - sooner for sooner, later in pairwise(life.uses)]
                self._metrics.block_evicted(now - life.begun, now - last, gaps)
        for block in blocks:
            if draw() < self._share:
                lives[block] = _Life(now)

    def use(self, blocks: Sequence[int]) -> None:
        """Learn that a sequence found blocks."""
        if self._lives:
            now = self._clock.seconds()
            for life in filter(None, map(self._lives.get, blocks)):
                life.uses.append(now)

    def clear(self) -> None:
        """Measure those no more that have been begun."""
        self._lives.clear()
