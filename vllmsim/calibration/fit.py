# -*- test-case-name: tests.calibration.test_fit -*-
"""Finds the coefficients of a linear step time.

First the runs are played as they were seen, so that it is known what each step computed and how long it took. Then
they are played with nothing but the coefficients, as they will be used. What a request waits for its tokens is the sum
of the times of some steps again, so there is a better set of coefficients for the steps of that play; with those the
runs are played anew, until that brings nothing more.

Both are linear, and what is compared are relative errors: a step of a millisecond counts as much as one of a second.
"""

from collections.abc import Callable, Sequence
from typing import Final

from attrs import define, field, frozen

from vllmsim.calibration.accuracy import Agreement, compare, score
from vllmsim.calibration.coefficients import NOTHING, Coefficients, Parts, Row, add, parts_of, solve
from vllmsim.calibration.measured import Run
from vllmsim.calibration.observation import Observation, outside_of
from vllmsim.calibration.replay import Played, Replay
from vllmsim.regression import Solution
from vllmsim.scheduling.steps.scheduler import StepScheduler

_ROUNDS: Final = 40
_ENOUGH: Final = 1e-4
"""The error under which another round is of no use."""
_BETTER: Final = 0.99
"""An error must become this part of what it was, or it is as good as before."""
_MUCH_BETTER: Final = 0.8
"""The same, where steps were seen one by one: then other coefficients fit what has happened by chance."""
_SOME: Final = 5
"""How many steps must have begun because a request came, before their durations tell of its way."""
_SHARES: Final = (1.0, 0.5, 0.25)
"""How far to go from a set of coefficients to the one that fits their steps better."""


@frozen
class Fit:
    """What came of it.

    :param outside: seconds that a request spends outside of the engine, on its way there and back.
    :param errors: the coefficients' standard errors.
    :param rounds: how many times all runs were played.
    """

    coefficients: Coefficients
    outside: float
    errors: Coefficients
    rounds: int


@frozen
class Simulated:
    """A run beside what it was measured as."""

    run: Run
    played: Played
    agreements: Sequence[Agreement]


def simulate(run: Run, scheduler: StepScheduler, coefficients: Coefficients, outside: float) -> Simulated:
    """Play a run with the coefficients alone.

    :param outside: seconds that a request spends outside of the engine.
    :raises vllmsim.calibration.replay.NoRoom: when the KV cache is too small for it.
    """
    values = coefficients.values
    delays = [outside] * len(run.requests)
    played = Replay(
        run, scheduler, lambda start, work, _: start + _dot(values, parts_of(work)), run.arrivals(), delays
    ).play()
    return Simulated(run, played, compare([*zip(run.requests, played.measured(run), strict=True)]))


@define(eq=False)
class Fitting:
    """Fits runs.

    :param runs: at least one.
    :param make_scheduler: makes an engine that has nothing to do.
    :param tell: is told what goes on.
    """

    _runs: Sequence[Run]
    _make_scheduler: Callable[[], StepScheduler]
    _tell: Callable[[str], object] = lambda _text: None
    _outside: float = field(init=False, default=0.0)
    _exact: bool = field(init=False, default=False)
    """Whether steps were seen one by one."""
    _rounds: int = field(init=False, default=0)
    _error: float = field(init=False, default=float("inf"))
    _values: Sequence[float] = field(init=False, default=NOTHING)
    _simulated: Sequence[Simulated] = field(init=False, default=())

    def fit(self) -> Fit:
        """Find the coefficients.

        :raises vllmsim.calibration.replay.NoRoom: when the KV cache is too small for a request.
        """
        begun = self._begin()
        self._improves(begun.values[:4])
        while self._error > _ENOUGH and self._follow():
            pass
        return Fit(Coefficients(*self._values), self._outside, Coefficients(*begun.errors[:4]), self._rounds)

    def _begin(self) -> Solution:
        """Find coefficients in the runs as they were seen, and the time outside of the engine."""
        rows: list[Row] = []
        exact: list[Played] = []
        for run in self._runs:
            self._tell(f"reading the steps of {run.title}")
            observation = Observation(run)
            played = observation.play(self._make_scheduler)
            if observation.exact:
                exact.append(played)
                rows += observation.rows(played)
            else:
                rows += rows_of_requests(run, played)
        solution = solve(rows)
        if exact:
            low, high = outside_of(exact)
            told = sum(row.outside for row in rows) >= _SOME
            self._outside = min(max(low, solution.values[4]), high) if told else low
        self._exact = len(exact) == len(self._runs)
        return solution

    def _follow(self) -> bool:
        """Go towards what fits the steps better that were played last.

        :return: whether that is any better.
        """
        rows = [row for each in self._simulated for row in rows_of_requests(each.run, each.played)]
        aim, before = solve(rows).values[:4], self._values
        return any(self._improves([a + share * (b - a) for a, b in zip(before, aim, strict=True)]) for share in _SHARES)

    def _improves(self, values: Sequence[float]) -> bool:
        """Play all runs with coefficients, and keep these if they are the best so far."""
        if self._rounds >= _ROUNDS:
            return False
        self._rounds += 1
        coefficients = Coefficients(*values)
        simulated = [simulate(run, self._make_scheduler(), coefficients, self._outside) for run in self._runs]
        error = sum(score(each.agreements) for each in simulated) / len(simulated)
        better = error < self._error * (_MUCH_BETTER if self._exact else _BETTER)
        if better:
            self._error, self._values, self._simulated = error, values, simulated
        self._tell(f"round {self._rounds}: {error:.2%} off, at best {self._error:.2%}")
        return better


def rows_of_requests(run: Run, played: Played) -> list[Row]:
    """Take what requests waited for their first token, and from that to their last."""
    sums = [NOTHING]
    for step in played.steps:
        sums.append(add(sums[-1], parts_of(step.work)))
    rows: list[Row] = []
    requests = zip(run.requests, played.starts, played.delays, played.begun, played.first, played.last, strict=True)
    for request, start, delay, begun, first, last in requests:
        if request.first > delay:
            waited = add(sums[first + 1], sums[begun], -1.0)
            rows.append(Row(add(waited, *_rest(played, start + delay, begun)), request.first - delay))
        if last > first and request.last > request.first:
            rows.append(Row(add(sums[last + 1], sums[first + 1], -1.0), request.last - request.first))
    return rows


def _rest(played: Played, arrival: float, begun: int) -> tuple[Parts, float]:
    """Tell which part was left of the step that ran when a request came."""
    if not played.steps[begun].follows:
        return NOTHING, 0.0
    before = played.steps[begun - 1]
    whole = before.end - before.start
    return parts_of(before.work), (before.end - arrival) / whole if whole else 0.0


def _dot(a: Parts, b: Parts) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3]
