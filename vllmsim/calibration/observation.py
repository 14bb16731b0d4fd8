# -*- test-case-name: tests.calibration.test_observation -*-
"""Plays a run so that its steps end when their tokens were seen.

Which tokens a step computes is not in any report, but the scheduler tells it, once it is known when steps begin and who
is there. Who is there is known up to the time that requests are on their way: a request may have missed a step that had
not begun when it was sent. Its first token tells. So the run is played some times, and whoever got a first token before
it was seen comes a step later the next time.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from statistics import median, median_low
from typing import Final

from attrs import define, field

from vllmsim.calibration.coefficients import NOTHING, Row, add, parts_of
from vllmsim.calibration.measured import Measured, Run
from vllmsim.calibration.replay import Emitted, Played, Replay
from vllmsim.scheduling.steps.scheduler import StepScheduler
from vllmsim.steps import StepWork

_PLAYED: Final = 8
_MOST_OUTSIDE: Final = 0.5
"""Seconds; who takes longer than that to the engine waits for something else."""


@define(eq=False)
class Observation:
    """What was seen of one run."""

    run: Run
    exact: bool = field(init=False)
    """Whether tokens were seen one by one; if not, they are taken to have come evenly from the first to the last."""
    _times: list[list[float]] = field(init=False)
    """By request, when its tokens were seen, in seconds from the beginning of the run."""

    def __attrs_post_init__(self) -> None:
        requests = self.run.requests
        self.exact = sum(1 for each in requests if each.times) * 2 > len(requests)
        begun = requests[0].start
        self._times = [
            [each.start - begun + time for time in (each.times if self.exact else _even(each))] for each in requests
        ]

    def play(self, make_scheduler: Callable[[], StepScheduler]) -> Played:
        """Play the run as it was seen."""
        delays = [0.0] * len(self.run.requests)
        for _ in range(_PLAYED):
            played = Replay(self.run, make_scheduler(), self._end, self.run.starts(), delays).play()
            if not self.exact or not self._delay(played, delays):
                break
        return played

    def rows(self, played: Played) -> list[Row]:
        """Take the times between the ends of steps."""
        rows: list[Row] = []
        total, begun, outside = NOTHING, 0.0, 0.0
        for step in played.steps:
            if not step.follows:
                total, begun, outside = NOTHING, step.start, 1.0
            total = add(total, parts_of(step.work))
            if self._seen(step.emitted) is not None:
                if step.end > begun:
                    rows.append(Row(total, step.end - begun, outside))
                total, begun, outside = NOTHING, step.end, 0.0
        return rows

    def _seen(self, emitted: Emitted) -> float | None:
        """Tell when the tokens of a step were seen; None if nobody says."""
        times = [self._times[number][place] for number, place in emitted if self._times[number]]
        if not times:
            return None
        # Who is in a wrong step is alone with that; of two the earlier is right more often, as tokens only come late.
        return median_low(times) if self.exact else median(times)

    def _end(self, start: float, _work: StepWork, emitted: Emitted) -> float:
        seen = self._seen(emitted)
        return start if seen is None else max(start, seen)

    def _delay(self, played: Played, delays: list[float]) -> bool:
        """Have requests come later, or earlier, whose first tokens came too early, or too late.

        :return: whether there are any.
        """
        ends = [step.end for step in played.steps]
        changed = False
        for number, (times, first, begun) in enumerate(zip(self._times, played.first, played.begun, strict=True)):
            if not times:
                continue
            late = _nearest(ends, times[0]) - first
            if late and 0 <= begun + late < len(ends):
                delay = max(0.0, played.steps[begun + late].start - played.starts[number])
                if delays[number] != delay <= _MOST_OUTSIDE:
                    delays[number] = delay
                    changed = True
        return changed


def outside_of(played: Sequence[Played]) -> tuple[float, float]:
    """Tell how long requests take to the engine, judging by the steps that they missed and those that they did not.

    :return: from how many seconds to how many; any of them is as good.
    """
    reached: list[float] = []
    missed: list[float] = []
    for each in played:
        for start, begun in zip(each.starts, each.begun, strict=True):
            # A step that follows none began because somebody came, however long that took.
            if each.steps[begun].follows:
                reached.append(each.steps[begun].start - start)
                if each.steps[begun - 1].follows:
                    missed.append(each.steps[begun - 1].start - start)
    reached.sort()
    missed.sort()

    def wrong(outside: float) -> int:
        return bisect_left(reached, outside) + len(missed) - bisect_left(missed, outside)

    edges = sorted({0.0, _MOST_OUTSIDE, *(each for each in (*reached, *missed) if 0 < each < _MOST_OUTSIDE)})
    least = min(map(wrong, edges))
    good = [each for each in edges if wrong(each) == least]
    return good[0], good[-1]


def _even(request: Measured) -> list[float]:
    return [request.first + request.gap * place for place in range(request.output_tokens)]


def _nearest(ends: Sequence[float], time: float) -> int:
    place = bisect_left(ends, time)
    if place == len(ends) or (place and time - ends[place - 1] <= ends[place] - time):
        place -= 1
    return place
