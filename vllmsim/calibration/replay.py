# -*- test-case-name: tests.calibration.test_replay -*-
"""Plays a measured run again, with the scheduler and no server.

Steps go one behind the other, as long as there is something to compute. Who has come when a step begins may be in it.
"""

from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from typing import Final

from attrs import define, field, frozen

from vllmsim.calibration.measured import Arrival, Measured, Run
from vllmsim.inference import HashedPrompt
from vllmsim.scheduling.steps.computation import Computation
from vllmsim.scheduling.steps.scheduler import StepScheduler
from vllmsim.steps import StepWork

_DIGITS: Final = 9
Emitted = Sequence[tuple[int, int]]
"""Numbers of requests, and of their tokens, from 0."""


class NoRoom(Exception):
    """A request needs more blocks than there are, so that no step can compute it."""


@frozen(eq=False)
class Step:
    """One step of a run that was played.

    :param start: when it began, in seconds from the beginning of the run.
    :param end: when its tokens came.
    :param follows: whether it began when the one before it ended, and not later.
    :param emitted: the tokens that it gave.
    """

    start: float
    end: float
    follows: bool
    work: StepWork
    emitted: Emitted


@frozen(eq=False)
class Played:
    """What became of a run.

    :param steps: all of them.
    :param starts: when each request was sent.
    :param delays: seconds from when each was sent to when it could be in a step.
    :param begun: for each request, the number of the first step that it could be in.
    :param first: for each request, the number of the step that gave its first token.
    :param last: the one that gave its last token.
    :param preemptions: how many times a request lost its blocks.
    """

    steps: Sequence[Step]
    starts: Sequence[float]
    delays: Sequence[float]
    begun: Sequence[int]
    first: Sequence[int]
    last: Sequence[int]
    preemptions: int

    def measured(self, run: Run) -> list[Measured]:
        """Say of each request what a load generator would have seen."""
        return [
            Measured(
                start,
                request.prompt_tokens,
                request.output_tokens,
                self.steps[first].end - start,
                self.steps[last].end - start,
            )
            for request, start, first, last in zip(run.requests, self.starts, self.first, self.last, strict=True)
        ]


@define(eq=False)
class Replay:
    """Plays a run once.

    :param scheduler: an engine without any sequence.
    :param ends: tells when a step ends that begins at a time, computes something and gives these tokens.
    :param arrivals: by request, when it is sent.
    :param delays: by request, seconds from when it was sent to when it may be in a step.
    """

    _run: Run
    _scheduler: StepScheduler
    _ends: Callable[[float, StepWork, Emitted], float]
    _arrivals: Sequence[Arrival]
    _delays: Sequence[float]
    _numbers: dict[Computation, int] = field(init=False, factory=dict)
    _coming: list[tuple[float, int]] = field(init=False)
    """When requests reach the engine, and which."""
    _followers: dict[int, list[tuple[float, int]]] = field(init=False, factory=dict)
    """By request, those that come behind its end, and how much later they reach the engine."""
    _steps: list[Step] = field(init=False, factory=list)
    _starts: list[float] = field(init=False)
    _begun: list[int] = field(init=False)
    _first: list[int] = field(init=False)
    _last: list[int] = field(init=False)
    _preemptions: int = field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        self._coming = []
        for number, arrival in enumerate(self._arrivals):
            if arrival.behind is None:
                self._coming.append((arrival.seconds + self._delays[number], number))
            else:
                later = arrival.seconds + self._delays[number]
                self._followers.setdefault(arrival.behind, []).append((later, number))
        heapify(self._coming)
        count = len(self._run.requests)
        self._starts, self._begun = [0.0] * count, [-1] * count
        self._first, self._last = [-1] * count, [-1] * count

    def play(self) -> Played:
        """Play it.

        :raises NoRoom: when the KV cache is too small for one of its requests.
        """
        now = 0.0
        while self._coming or self._numbers:
            follows = bool(self._numbers)
            if follows:
                while self._coming and self._coming[0][0] <= now:
                    self._add(*heappop(self._coming))
            else:
                # Whoever finds nothing to do begins a step at once, and does not wait for those right behind.
                now = max(now, self._coming[0][0])
                self._add(*heappop(self._coming))
            now = self._step(now, follows)
        return Played(self._steps, self._starts, self._delays, self._begun, self._first, self._last, self._preemptions)

    def _add(self, arrival: float, number: int) -> None:
        request = self._run.requests[number]
        # Of tokens nothing is known but how many there are.
        computation = Computation(HashedPrompt(range(request.prompt_tokens)), range(request.output_tokens))
        self._numbers[computation] = number
        self._starts[number] = arrival - self._delays[number]
        self._begun[number] = len(self._steps)
        self._scheduler.add(computation)

    def _step(self, start: float, follows: bool) -> float:
        batch = self._scheduler.schedule()
        if not batch.scheduled:
            raise NoRoom
        self._preemptions += len(batch.preempted)
        emitted: list[tuple[int, int]] = []
        ended: list[int] = []
        for computation, tokens in self._scheduler.complete(batch):
            number, generated = self._numbers[computation], computation.generated
            emitted.extend((number, place) for place in range(generated - tokens, generated))
            if generated == tokens:
                self._first[number] = len(self._steps)
            if computation.finished:
                self._last[number] = len(self._steps)
                del self._numbers[computation]
                ended.append(number)
        end = self._ends(start, batch.work, emitted)
        self._steps.append(Step(start, end, follows, batch.work, emitted))
        for number in ended:
            for later, follower in self._followers.get(number, ()):
                # Those who come at the same time keep their order, whatever the sums are rounded to.
                heappush(self._coming, (round(end + later, _DIGITS), follower))
        return end
