# -*- test-case-name: tests.scheduling.steps.test_scheduler -*-
"""Which tokens the engine computes in its next step: vLLM's scheduler.

A sequence has tokens that are computed and others that are not, those of its prompt at first and later the one that was
generated last. A step first goes on with the sequences that run, in their order, and then lets in those that wait, as
far as tokens and blocks reach. When there are no blocks for one that runs, the last one that runs loses its blocks: it
is preempted, goes back to the queue, and computes everything anew that is not cached by then.

There is no time here and no randomness: equal calls give equal batches.
"""

from collections.abc import Callable, Sequence

from attrs import define, field

from vllmsim.interfaces import IStepCache
from vllmsim.scheduling.steps.batch import Batch
from vllmsim.scheduling.steps.computation import Computation
from vllmsim.scheduling.steps.limits import StepLimits


@define(eq=False)
class StepScheduler:
    """Decides what is computed next, and has the blocks for it taken.

    :param limits: tells how much is done in one step.
    :param by_priority: whether priorities count.
    """

    _cache: IStepCache
    _limits: Callable[[], StepLimits]
    _by_priority: bool = False
    running: list[Computation] = field(init=False, factory=list)
    """Those that were let in, in the order in which they are served."""
    admitting: bool = field(init=False, default=True)
    """Whether any that wait may be let in."""

    @property
    def waiting(self) -> int:
        """How many wait, or have their tokens fetched."""
        raise NotImplementedError

    @property
    def deferred(self) -> int:
        """How many of those that wait could not be let in if there were room."""
        raise NotImplementedError

    def add(self, computation: Computation) -> None:
        """Have a sequence computed. As long as its answer is not known it keeps its place, and is passed over."""
        raise NotImplementedError

    def ready(self, computation: Computation) -> None:
        """Learn that the answer of one that was added is known now."""
        raise NotImplementedError

    def fetched(self, computation: Computation) -> None:
        """Learn that the tokens of one are there that had to be fetched."""
        raise NotImplementedError

    def discard(self, computation: Computation) -> bool:
        """Compute no more of a sequence, and take its blocks back.

        :return: whether there was anything to compute; harmless if not.
        """
        raise NotImplementedError

    def schedule(self) -> Batch:
        """Begin the next step. The one before must be completed.

        :return: what it computes. If that is nothing, there is no step, and nothing to complete.
        """
        raise NotImplementedError

    def complete(self, batch: Batch) -> Sequence[tuple[Computation, int]]:
        """End the step: give every sequence the tokens that it has come to, and take the blocks of those that are done.

        :return: those that have new tokens, in the order of the batch, and how many each.
        """
        raise NotImplementedError

    def preempt_all(self) -> None:
        """Take all blocks back. Who was in a step computes it anew; the next batch names all of them as preempted."""
        raise NotImplementedError
