# -*- test-case-name: tests.scheduling.steps.test_engine -*-
"""An engine that goes in steps: each computes some tokens of some sequences, takes its time, and gives new tokens.

The scheduler says what a step computes, a step time how long that takes, and the pacer when it is over. Then the tokens
leave, and the next step begins at once: at the moment at which the last was due, so that a late one makes none of those
behind it late, unless the process was busy for so long that it is better forgotten. Without anything to compute there
are no steps, until something comes.

What is asked for meanwhile waits for the next step. What is answered is known before it is computed: the steps say only
when each token leaves, and what is computed once more.
"""

import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import ClassVar, Final

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, execute
from twisted.logger import Logger
from twisted.python.failure import Failure

from vllmsim.clocks.simulated import scale_of, work_clock
from vllmsim.errors import QueueFull
from vllmsim.inference import Adapter, Prefill
from vllmsim.interfaces import IAdapterSlots, IEngineTrace, IStepTime
from vllmsim.scheduling import passage
from vllmsim.scheduling.generation import generate
from vllmsim.scheduling.limits import RankLimits
from vllmsim.scheduling.model import Model
from vllmsim.scheduling.pacing import Place
from vllmsim.scheduling.sequence import Sequence
from vllmsim.scheduling.steps.batch import Batch
from vllmsim.scheduling.steps.computation import Computation
from vllmsim.scheduling.steps.course import StepCourse
from vllmsim.scheduling.steps.scheduler import StepScheduler
from vllmsim.shifts import Shifts
from vllmsim.turns import TURN

LATE: Final = 0.1
"""Seconds of the machine's time by which a step may end late and the next begins when it was due."""


@define(eq=False)
class StepEngine:
    """Runs sequences in steps. It has one place in the pacer.

    :param limits: tells how much the rank takes on.
    :param step_time: tells how long steps take.
    :param generator: the randomness of that.
    :param shifts: the time in which answers are composed.
    """

    _log: ClassVar[Logger] = Logger()

    _model: Model
    scheduler: StepScheduler
    _limits: Callable[[], RankLimits]
    _adapters: IAdapterSlots
    _step_time: Callable[[], IStepTime]
    _generator: random.Random
    _shifts: Shifts
    _arrived: dict[Sequence, StepCourse] = field(init=False, factory=dict)
    """Those that have come, and whose answers nobody has begun to compose."""
    _opening: Deferred[None] | None = field(init=False, default=None)
    """What begins with them, a few at a time."""
    _courses: dict[Computation, StepCourse] = field(init=False, factory=dict)
    """Those of all sequences that have come and not ended."""
    _place: Place | None = field(init=False, default=None)
    """Its place in the pacer, while there is something to do."""
    _batch: Batch | None = field(init=False, default=None)
    """The step that runs."""
    _given: deque[tuple[Computation, int]] = field(init=False, factory=deque)
    """What the last step has given and has not left yet."""
    _due: float = field(init=False, default=0.0)
    """When the step that runs is over, or the last one was."""
    _begins: float | None = field(init=False, default=None)
    """When the next step begins, if that is not when it is scheduled."""
    _spoke: bool = field(init=False, default=False)
    """Whether the last step has given any token."""
    _serving: bool = field(init=False, default=False)
    _scale: float = field(init=False)
    """How much simulated time passes meanwhile; where none does, no step is late."""

    @_scale.default
    def _find_scale(self) -> float:
        return scale_of(self._model.clock) or 1.0

    def __attrs_post_init__(self) -> None:
        self.scheduler.refuses = self._refuses
        self.scheduler.robbed = lambda computation: self._courses[computation].preempted()

    @property
    def running(self) -> int:
        """How many sequences run."""
        return len(self.scheduler.running)

    def start(self) -> None:
        """Begin to go."""
        self._serving = True
        self._look_at_arrivals()
        self.wake()

    def stop(self) -> None:
        """Go no more."""
        self._serving = False
        if self._opening is not None:
            self._opening.cancel()
        if self._place is not None:
            self._model.pacer.discard(self._place)
            self._place = None

    def unload_adapters(self) -> None:
        """Have adapters that no sequence runs with be on disk alone."""
        self._adapters.clear()

    def settle(self, adapter: Adapter) -> None:
        """Have an adapter that is unloaded give its place back, unless somebody waits for it."""
        number = adapter.number
        if not any(each.adapter is not None and each.adapter.number == number for each in self._courses):
            self._adapters.settle(adapter)

    def require_room(self, count: int, adapter: Adapter | None = None) -> None:
        """Make sure that so many sequences may be added; see :class:`vllmsim.scheduling.runner.Runner`."""
        limits, deferred = self._limits(), self.scheduler.deferred
        waiting = self.scheduler.waiting + count
        if waiting > limits.waiting and (adapter is None or self._adapters.holds(adapter) or self._adapters.loadable()):
            waiting = deferred + max(0, waiting - deferred - max(0, limits.running - self.running))
        if waiting > limits.waiting:
            raise QueueFull("Failed to enqueue request, waiting requests queue is full")

    def add(self, sequence: Sequence) -> None:
        """Compute a sequence as soon as there is room for it."""
        model, request = self._model, sequence.submission.request
        passage.wait(model.metrics, model.adapters, sequence, model.clock.seconds())
        computation = Computation(
            sequence.hashed,
            priority=request.priority,
            reads=request.reads_cache,
            remote_tokens=sequence.remote_tokens,
            adapter=sequence.adapter,
            generator=sequence.generator,
        )
        course = StepCourse(model, self.scheduler, self._adapters, self, sequence, computation)
        self._courses[computation] = course
        self.scheduler.add(computation)
        self._arrived[sequence] = course
        self._look_at_arrivals()

    def remove(self, sequence: Sequence) -> None:
        """Stop a sequence. Harmless after its end."""
        if sequence.generation is not None:
            sequence.generation.cancel()
        else:
            self._send_away(sequence)

    def abort(self, sequence: Sequence) -> None:
        """End a sequence with what it has said. Harmless after its end."""
        sequence.aborted = True
        if sequence.generation is not None:
            sequence.generation.cancel()
        elif self._send_away(sequence):
            execute(sequence.end_early).chainDeferred(sequence.done)

    def fill(self) -> None:
        """Look for something to do: more may run than before."""
        self.wake()

    def wake(self) -> None:
        """Look for something to do, if there was nothing, when all that comes now has come."""
        if self._place is None and self._serving and self.scheduler.waiting + self.running:
            self._place = self._model.pacer.add(self._model.pacer.seconds(), self)

    def left(self, course: StepCourse) -> None:
        """Learn that a sequence is gone; others may have waited for that."""
        del self._courses[course.computation]
        if course.sequence.adapter is not None:
            self.settle(course.sequence.adapter)
        self.wake()

    def emit(self, now: float) -> float | None:
        """End the step that is over, and begin the next; see :class:`vllmsim.scheduling.pacing.Paced`."""
        scheduler, metrics = self.scheduler, self._model.metrics
        if self._batch is not None:
            if now < self._due:
                # It was stopped, and goes on before the step is over.
                return self._due
            self._given.extend(scheduler.complete(self._batch))
            self._batch = None
            if now - self._due < LATE * self._scale:
                self._begins = self._due
        if not self._deliver(now):
            # Others have their turn first.
            return now
        if self._spoke:
            self._spoke = False
            metrics.iteration_finished()
        begins = self._model.pacer.seconds() if self._begins is None else self._begins
        self._begins = None
        batch = scheduler.schedule()
        ready = self._tell(batch, begins, now + self._model.pacer.held)
        if not batch.scheduled:
            self._place = None
            return None
        self._batch = batch
        begins = max(begins, ready)
        seconds = self._step_time().seconds(batch.work, self._generator)
        if self._model.trace is not None:
            self._trace(self._model.trace, batch, begins + self._model.pacer.held, seconds)
        self._due = begins + seconds
        return self._due

    def fail(self, reason: Failure) -> None:
        """End all that is here: what went wrong is nobody's in particular."""
        self._log.failure("The engine has come to a halt, and begins anew.", failure=reason)
        batch, self._batch, self._place, self._begins = self._batch, None, None, None
        if batch is not None:
            with suppress(Exception):
                self.scheduler.complete(batch)
        self._given.clear()
        for course in [*self._courses.values()]:
            if course.sequence not in self._arrived:
                course.fail(reason)

    def _look_at_arrivals(self) -> None:
        """Begin with those that have come, now or when it is their turn."""
        if self._arrived and self._opening is None:
            self._opening = opening = Deferred.fromCoroutine(self._shifts.run(self._open()))
            opening.addBoth(self._opened)

    def _open(self) -> Iterator[None]:
        """Begin with those that have come, one after the other."""
        while self._arrived:
            sequence = next(iter(self._arrived))
            generation = generate(self._model, sequence, self._arrived.pop(sequence))
            sequence.generation = generation
            generation.addBoth(self._end, sequence)
            yield

    def _opened(self, result: Failure | None) -> Failure | None:
        self._opening = None
        return None if isinstance(result, Failure) and result.check(CancelledError) else result

    def _send_away(self, sequence: Sequence) -> bool:
        """Take one away that nobody has begun with.

        :return: whether it was one of those.
        """
        course = self._arrived.pop(sequence, None)
        if course is None:
            return False
        course.leave()
        model = self._model
        passage.give_up(model.metrics, model.adapters, sequence, model.clock.seconds())
        return True

    def _deliver(self, now: float) -> bool:
        """Deliver what the last step has given.

        :return: whether that is all; else this is to be called again.
        """
        given, courses, work = self._given, self._courses, work_clock(self._model.clock)
        time, end = now + self._model.pacer.held, work.seconds() + TURN
        while given:
            computation, tokens = given.popleft()
            course = courses.get(computation)
            if course is not None:
                self._spoke = self._spoke or tokens > 0
                course.deliver(tokens, time)
            if work.seconds() > end:
                break
        return not given

    def _tell(self, batch: Batch, begins: float, time: float) -> float:
        """Tell sequences what the scheduler has decided.

        :param begins: when the step begins.
        :param time: the time, by the rank's clock.
        :return: when it can begin: when all adapters are there that it needs.
        """
        courses, ready = self._courses, begins
        for admission in batch.fetching:
            courses[admission.computation].fetching(admission)
        for admission in batch.admitted:
            ready = max(ready, courses[admission.computation].admitted(admission))
        for admission in batch.refused:
            courses[admission.computation].refuse(admission, time)
        return ready

    def _trace(self, trace: IEngineTrace, batch: Batch, at: float, seconds: float) -> None:
        """Write a step down.

        :param at: when it begins, by the rank's clock.
        :param seconds: how long it takes.
        """
        facts = {
            "sequences": len(batch.scheduled),
            "admitted": len(batch.admitted),
            "cached": sum(each.cached for each in batch.admitted),
            "preempted": len(batch.preempted),
        }
        trace.step_began(at, seconds, batch.work, facts)

    def _refuses(self, computation: Computation, cached: int, external: int) -> bool:
        """Tell whether too little of a prompt is cached for it to be served here."""
        sequence = self._courses[computation].sequence
        return sequence.is_refused(Prefill(len(sequence.prompt.ids), cached, external))

    def _end(self, result: int | Failure, sequence: Sequence) -> None:
        sequence.generation = None
        if isinstance(result, Failure):
            sequence.done.errback(result)
        else:
            sequence.done.callback(result)
