# -*- test-case-name: tests.scheduling.steps.test_engine -*-
"""The course of one sequence through an engine that goes in steps: in, perhaps out and in again, and to its end."""

from collections.abc import Callable
from math import inf
from typing import ClassVar, Protocol

from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from vllmsim.inference import Answer, Prefill
from vllmsim.interfaces import IAdapterSlots
from vllmsim.scheduling import passage
from vllmsim.scheduling.emission import Emission
from vllmsim.scheduling.fetching import Fetch, fetching_time
from vllmsim.scheduling.model import Model
from vllmsim.scheduling.pacing import Place
from vllmsim.scheduling.sequence import Sequence
from vllmsim.scheduling.steps.batch import Admission
from vllmsim.scheduling.steps.computation import Computation
from vllmsim.scheduling.steps.scheduler import StepScheduler


class Engine(Protocol):
    """What a sequence knows of the engine that it goes through."""

    def wake(self) -> None:
        """Look for something to do, if there was nothing."""

    def left(self, course: "StepCourse") -> None:
        """Learn that a sequence is gone."""


@define(eq=False)
class _Timer:
    """Something that happens once in the pacer's time."""

    _log: ClassVar[Logger] = Logger()

    _happen: Callable[[], object]

    def emit(self, _now: float) -> None:
        """Have it happen."""
        self._happen()

    def fail(self, reason: Failure) -> None:
        """Write down what went wrong."""
        self._log.failure("A sequence does not go on.", failure=reason)


@define(eq=False)
class StepCourse:
    """The course of one sequence; see :class:`vllmsim.scheduling.course.Course`.

    :param adapters: has the adapter that it needs to run.
    :param computation: the sequence as the scheduler knows it.
    """

    _model: Model
    _scheduler: StepScheduler
    _adapters: IAdapterSlots
    _engine: Engine
    sequence: Sequence
    computation: Computation
    emission: Emission | None = field(init=False, default=None)
    """What delivers its tokens, once it was let in."""
    _entered: Deferred[Prefill] = field(init=False, factory=Deferred)
    _fetch: Fetch | None = field(init=False, default=None)
    _inside: bool = field(init=False, default=False)
    """Whether it runs, as far as the scheduler has said."""
    _lost: bool = field(init=False, default=False)
    """Whether it waits again."""
    _repeats: bool = field(init=False, default=False)
    """Whether it computes once more what it had computed."""
    _delays: dict[int, float] = field(init=False, factory=dict)
    """By the number of tokens before them, by how many seconds some tokens are late on purpose."""
    _timer: Place | None = field(init=False, default=None)
    """What ends a delay, or a transfer."""

    @property
    def preemptions(self) -> int:
        """How many times it lost its blocks to others."""
        return self.computation.preemptions

    def enter(self, answer: Answer) -> Deferred[Prefill]:
        """Be computed as soon as the scheduler lets it in."""
        self.computation.answer = answer.ids
        self._scheduler.ready(self.computation)
        self._engine.wake()
        return self._entered

    def speak(self, answer: Answer, _begun: float) -> Emission:
        """Deliver tokens from now on, whenever a step has given some."""
        self.emission = Emission(self._model, self.sequence, answer, self._fetch)
        if not answer.refused:
            self._plan_delays(len(answer))
        return self.emission

    def leave(self) -> None:
        """Give back whatever it has."""
        self._scheduler.discard(self.computation)
        if self._timer is not None:
            self._model.pacer.discard(self._timer)
        if self._fetch is not None:
            self._fetch.give_up()
        self._leave_adapter()
        if self._lost:
            # Who is told of its end takes it for one that runs.
            passage.resume(self._model, self.sequence, 0)
        self._engine.left(self)

    def admitted(self, admission: Admission) -> float:
        """Learn that it was let in.

        :return: when its adapter is there, in the pacer's time; that may be past.
        """
        self._inside = True
        adapter = self.sequence.adapter
        ready = -inf if adapter is None else self._adapters.occupy(adapter)
        if self._lost:
            self._lost, self._repeats = False, True
            passage.resume(self._model, self.sequence, admission.cached)
        else:
            self._entered.callback(self._prefill())
        return ready

    def preempted(self) -> None:
        """Learn that it has lost its blocks to others."""
        self._leave_adapter()
        self._lost = True
        passage.lose(self._model, self.sequence)

    def fetching(self, admission: Admission) -> None:
        """Learn that some of its tokens are to be fetched, which takes a time of its own."""
        prefill = evolve(self._prefill(), cached=admission.cached, external=admission.external)
        seconds = fetching_time(self.sequence, prefill, len(self._scheduler.running))
        self.sequence.moves("fetch", self._model.clock.seconds())
        if self.sequence.submission.request.remote_prefill:
            self._fetch = Fetch(self._model.metrics, prefill, seconds)
        self._wait(seconds, self._fetched)

    def deliver(self, tokens: int, time: float) -> None:
        """Deliver what a step has given.

        :param tokens: how many; none if the next is late on purpose.
        :param time: the time, by the rank's clock.
        """
        emission = self.emission
        if emission is None or emission.finished.called:
            return
        if tokens:
            if not emission.sent:
                emission.prefilled(self._prefill())
            if self._repeats:
                self._repeats = False
                if emission.sent:
                    self.sequence.moves("decode", time)
            self._emit(emission, emission.sent + tokens, time)
        else:
            self._delay(emission.sent)

    def refuse(self, admission: Admission, time: float) -> None:
        """Say that too little of the prompt is cached.

        :param time: the time, by the rank's clock.
        """
        self._entered.callback(Prefill(len(self.sequence.prompt.ids), admission.cached, admission.external))
        if self.emission is not None:
            self._emit(self.emission, 0, time)

    def fail(self, reason: Failure) -> None:
        """End it: the engine cannot go on."""
        if self.emission is not None:
            self.emission.fail(reason)
        elif not self._entered.called:
            self._entered.errback(reason)

    def _emit(self, emission: Emission, stop: int, time: float) -> None:
        """Deliver tokens, and come to the end behind the last."""
        try:
            emission.deliver(stop, time)
        except Exception:  # noqa: BLE001 - whatever a sink raises must not stop the others
            emission.fail(Failure())
        if emission.finished.called:
            return
        if emission.sent == len(emission.answer):
            emission.finished.callback(None)

    def _prefill(self) -> Prefill:
        """Tell where the prompt's tokens come from, and which blocks have them now."""
        assert self.computation.blocks is not None
        prefill: Prefill = self.computation.blocks.prefill
        return prefill

    def _leave_adapter(self) -> None:
        if self._inside and self.sequence.adapter is not None:
            self._adapters.release(self.sequence.adapter)
        self._inside = False

    def _plan_delays(self, length: int) -> None:
        """Find out which tokens are to be late: as an image takes its time, or as something disturbs them."""
        delays, disturbance = self._delays, self.sequence.submission.request.disturbance
        if disturbance is not None:
            delays[0] = disturbance.first_token
            # An answer that is shorter stalls before its last token.
            stalls_at = min(disturbance.stall_at, length - 1)
            delays[stalls_at] = delays.get(stalls_at, 0.0) + disturbance.stall
        if image := self.sequence.draw_image_time():
            delays[length - 1] = delays.get(length - 1, 0.0) + image
        self._delays = {place: seconds for place, seconds in delays.items() if seconds}
        self.computation.halt = min(self._delays, default=None)

    def _delay(self, sent: int) -> None:
        """Begin to wait before a token that would be due now."""
        if self._timer is None:
            late = [place for place in self._delays if place <= sent]
            self._wait(sum([self._delays.pop(place) for place in late]), self._delayed)

    def _wait(self, seconds: float, happen: Callable[[], object]) -> None:
        pacer = self._model.pacer
        # Who waits for ever is there until its client leaves.
        self._timer = Place(None) if seconds == inf else pacer.add(pacer.seconds() + seconds, _Timer(happen))

    def _delayed(self) -> None:
        self._timer = None
        tokens = self._scheduler.release(self.computation)
        self.computation.halt = min(self._delays, default=None)
        if tokens:
            self.deliver(tokens, self._model.clock.seconds())
            self._model.metrics.iteration_finished()
        self._engine.wake()

    def _fetched(self) -> None:
        self._timer = None
        if self._fetch is not None:
            self._fetch.finish()
        self._scheduler.fetched(self.computation)
        self._engine.wake()
