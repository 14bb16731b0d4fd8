# -*- test-case-name: tests.scheduling.steps.test_scheduler -*-
"""What one step of the engine is made of, and what it gave."""

from collections.abc import Mapping, Sequence

from attrs import frozen

from vllmsim.scheduling.steps.computation import Computation
from vllmsim.steps import StepWork


@frozen(eq=False)
class Admission:
    """A sequence that was let in.

    :param cached: how many of its tokens this server's prefix cache had.
    :param external: how many more are fetched from elsewhere; while they are, it is in no step.
    :param resumed: whether it had been let in before, and preempted.
    """

    computation: Computation
    cached: int
    external: int = 0
    resumed: bool = False


@frozen(eq=False)
class Batch:
    """One step.

    :param scheduled: how many tokens of each sequence are computed, guesses included, in the order of the batch.
    :param admitted: those that were let in for it, in their order.
    :param fetching: those that were let in, but whose tokens must be fetched first. Who makes the time go calls
        :meth:`vllmsim.scheduling.steps.scheduler.StepScheduler.fetched` when they are there.
    :param refused: those that were sent away when they would have been let in, since too little of them is cached.
    :param preempted: those that lost their blocks for it, in their order.
    :param work: what is computed.
    :param drafts: how many of a sequence's tokens are guesses, where there are any.
    """

    scheduled: Mapping[Computation, int]
    admitted: Sequence[Admission]
    fetching: Sequence[Admission]
    refused: Sequence[Admission]
    preempted: Sequence[Computation]
    work: StepWork
    drafts: Mapping[Computation, int]
