"""The scheduler of steps against one that is slow and obvious."""

import os
from itertools import cycle, islice

from attrs import define, field
from hypothesis import HealthCheck, Phase, given, note, seed, settings
from twisted.trial.unittest import SynchronousTestCase

from tests.scheduling.steps.reference import Reference, Step
from tests.scheduling.steps.reference_blocks import Rules, Sequence
from tests.scheduling.steps.rig import Rig
from tests.scheduling.steps.workloads import Arrival, Workload, workloads
from vllmsim.inference import Adapter
from vllmsim.scheduling.steps.batch import Batch
from vllmsim.scheduling.steps.computation import Computation
from vllmsim.scheduling.steps.limits import StepLimits

EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "0"))
"""How many workloads are tried; if 0, some that are always the same."""
SEED = int(os.environ.get("PROPERTY_SEED", "1"))
_SOME = 250
_MOST_STEPS = 2000
"""After so many steps a workload does not end."""
_ADAPTERS = {name: Adapter(name, f"/{name}", "m", number) for number, name in enumerate("xyz", 1)}


def _limits(rules: Rules) -> StepLimits:
    return StepLimits(
        running=rules.seats,
        batched_tokens=rules.batched,
        length=rules.longest,
        scheduled_tokens=rules.scheduled,
        long_prefill=rules.threshold,
        adaptive=rules.adaptive,
        chunked=rules.chunked,
        whole=rules.whole,
        spare=int(rules.watermark * rules.blocks),
        adapters=rules.adapters,
        lookahead=rules.ahead,
        draft_slots=rules.places,
        padding=rules.guesses if rules.even else 0,
    )


@define(eq=False)
class Luck:
    """Guesses as the reference does.

    :param sequences: by their twins.
    """

    _guesses: int
    _sequences: dict[Computation, Sequence]

    def guess(self, _computation: Computation, _sequences: int) -> int:
        """Guess always the same number of tokens."""
        return self._guesses

    def accept(self, computation: Computation, computed: int) -> int:
        """Tell how many are right."""
        return min(computation.drafts, computed, self._sequences[computation].lucky(computation.generated))


@define(eq=False)
class Both:
    """Both schedulers, doing the same.

    :param twins: by sequence of the reference, the other's.
    :param sequences: the other way round.
    :param arrivals: what becomes of each.
    """

    rules: Rules
    twins: dict[Sequence, Computation] = field(factory=dict)
    sequences: dict[Computation, Sequence] = field(factory=dict)
    arrivals: dict[Sequence, Arrival] = field(factory=dict)
    reference: Reference = field(init=False)
    rig: Rig = field(init=False)

    @reference.default
    def _make_reference(self) -> Reference:
        return Reference(self.rules)

    @rig.default
    def _make_rig(self) -> Rig:
        rules = self.rules
        guessing = Luck(rules.guesses, self.sequences) if rules.guesses else None
        return Rig(
            rules.blocks - 1,
            _limits(rules),
            rules.size,
            rules.priority,
            rules.caching,
            guessing=guessing,
            drops=rules.drops,
        )

    def arrive(self, arrival: Arrival) -> None:
        """Have sequences come."""
        for copy in range(arrival.copies):
            answer = list(islice(cycle((1, 2, 1, 3)), arrival.begins + copy, arrival.begins + copy + arrival.answer))
            order = len(self.twins)
            prompt = list(arrival.prompt)
            sequence = Sequence(
                str(order), prompt, answer, order, arrival.priority, arrival.owner, arrival.salt, arrival.reads
            )
            sequence.ready, sequence.luck = not arrival.ready, arrival.luck
            computation = self.rig.make(
                sequence.name,
                prompt,
                answer if sequence.ready else None,
                _ADAPTERS.get(arrival.owner),
                arrival.salt,
                priority=arrival.priority,
                reads=arrival.reads,
            )
            self.twins[sequence], self.arrivals[sequence] = computation, arrival
            self.sequences[computation] = sequence
            self.reference.add(sequence)
            self.rig.scheduler.add(computation)

    def know(self, sequence: Sequence) -> None:
        """Have an answer known."""
        sequence.ready = True
        computation = self.twins[sequence]
        computation.answer = sequence.answer
        self.rig.scheduler.ready(computation)

    def leave(self, step: int, *, abruptly: bool) -> None:
        """Have those go whose time has come."""
        for sequence, arrival in self.arrivals.items():
            if arrival.leaves is not None and (arrival.step + arrival.leaves, arrival.abruptly) == (step, abruptly):
                there = self.reference.discard(sequence)
                assert self.rig.scheduler.discard(self.twins[sequence]) == there

    def reset(self, workload: Workload, step: int, *, abruptly: bool) -> None:
        """Have all forgotten that blocks hold, if it is time for that."""
        for when, running, how in workload.resets:
            if (when, how) == (step, abruptly):
                assert self.rig.cache.reset(running) == self.reference.reset(running)

    def schedule(self) -> tuple[Step, Batch]:
        """Begin a step, which must be the same for both."""
        step, batch = self.reference.schedule(), self.rig.scheduler.schedule()
        assert [*batch.scheduled.items()] == [(self.twins[each], tokens) for each, tokens in step.scheduled]
        assert [(each.computation, each.cached) for each in batch.admitted] == [
            (self.twins[each], cached) for each, cached in step.admitted
        ]
        assert [*batch.preempted] == [self.twins[each] for each in step.preempted]
        assert self.rig.pool.used == self.reference.blocks.used == step.used
        return step, batch

    def complete(self, step: Step, batch: Batch) -> None:
        """End it, and see that all that can be seen is the same."""
        said = {sequence: sequence.said for sequence, _ in step.scheduled}
        self.reference.complete(step)
        # A step in which nothing is computed is none.
        told = self.rig.scheduler.complete(batch) if batch.scheduled else ()
        grown = [(each, each.said - before) for each, before in said.items() if each.said > before]
        assert [*told] == [(self.twins[each], tokens) for each, tokens in grown]

    def compare(self) -> None:
        """All that can be seen is the same."""
        reference, scheduler = self.reference, self.rig.scheduler
        assert [*scheduler.running] == [self.twins[each] for each in reference.running]
        assert scheduler.waiting == len(reference.waiting)
        assert self.rig.pool.used == reference.blocks.used
        for sequence, computation in self.twins.items():
            assert computation.preemptions == sequence.preemptions
        queried, hits = [sum(column) for column in zip((0, 0), *self.rig.metrics.looked_up, strict=True)]
        assert (queried, hits) == (reference.queried, reference.hits)

    @property
    def busy(self) -> bool:
        """Whether anybody is there."""
        return bool(self.reference.running or self.reference.waiting)


def _encode(event: tuple[object, ...]) -> tuple[object, ...]:
    """Say an event of the reference as listeners hear it."""
    match event:
        case "stored", parent, [*names], ids:
            return "stored", parent and str(parent).encode(), [str(name).encode() for name in names], ids
        case "removed", name:
            return "removed", str(name).encode()
    return event


def _run(workload: Workload) -> Both:
    """Have a workload come and go."""
    both = Both(workload.rules)
    for number in range(_MOST_STEPS):
        for arrival in workload.arrivals:
            if arrival.step == number:
                both.arrive(arrival)
        both.leave(number, abruptly=False)
        for sequence, arrival in both.arrivals.items():
            if not sequence.ready and arrival.step + arrival.ready == number:
                both.know(sequence)
        both.reset(workload, number, abruptly=False)
        step, batch = both.schedule()
        both.leave(number, abruptly=True)
        both.reset(workload, number, abruptly=True)
        both.complete(step, batch)
        both.compare()
        assert [event[:4] for event in both.rig.listener.take()] == [
            _encode(event) for event in both.reference.blocks.take_events()
        ]
        if not both.busy and number > max(arrival.step for arrival in workload.arrivals):
            return both
    raise AssertionError("nobody comes to an end")


class AgainstReferenceTests(SynchronousTestCase):
    """Random workloads."""

    def test_same(self) -> None:
        """Batches, admissions, hits, preemptions, blocks and events are those of the slow scheduler, step by step."""
        run = given(workloads())(_run_one)
        run = settings(
            max_examples=EXAMPLES or _SOME,
            derandomize=not EXAMPLES,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )(run)
        if EXAMPLES:
            run = seed(SEED)(run)
        run()


def _run_one(workload: Workload) -> None:
    note(repr(workload))
    _run(workload)
