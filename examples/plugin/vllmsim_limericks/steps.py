"""Steps of a GPU that has captured graphs for some sizes of a batch, and runs the next larger one."""

import random
from bisect import bisect_left

from attrs import evolve
from vllmsim.interfaces import IStepTime
from vllmsim.interfaces.plugins import StepTimeSurroundings
from vllmsim.steps import StepWork
from zope.interface import implementer

USUAL = (1, 2, 4, *range(8, 257, 8), *range(272, 513, 16))


@implementer(IStepTime)
class PaddedStepTime:
    """Takes the usual time of a batch that is filled up to the next size; prompts and large batches have no graph."""

    def __init__(self, surroundings: StepTimeSurroundings) -> None:
        sizes = surroundings.options.get("sizes", USUAL)
        if not isinstance(sizes, list | tuple) or not all(isinstance(size, int) and size > 0 for size in sizes):
            raise ValueError("sizes must be a list of numbers above 0")
        self._sizes = sorted(sizes)
        self._usual = surroundings.usual

    def seconds(self, work: StepWork, generator: random.Random) -> float:
        """Draw a step's duration."""
        place = bisect_left(self._sizes, work.decodes)
        if not work.prefill_tokens and place < len(self._sizes):
            work = evolve(work, decodes=self._sizes[place])
        return self._usual.seconds(work, generator)
