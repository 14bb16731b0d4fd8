# -*- test-case-name: tests.config.scenario.test_course -*-
"""Where values are in the course of a scenario.

Where several steps say something of one option, the latest does: a new value ends a ramp, and a ramp that does not say
where it begins goes on from where the one before it has come.
"""

import math
from collections.abc import Mapping

from attrs import define, field

from vllmsim.config.names import find
from vllmsim.config.scenario.values import PRESSURE, TICK, Ramp, Step

_GRAIN = 1e-9


@define(eq=False)
class Course:
    """The ramps of one rank, as they go on. Times are seconds from the start of the scenario."""

    _ramps: dict[str, tuple[Ramp, float]] = field(init=False, factory=dict)
    """By name, those that go on, and where they began."""

    @property
    def end(self) -> float:
        """When the first of them is at its end; infinity if none goes on."""
        return min((ramp.end for ramp, _ in self._ramps.values()), default=math.inf)

    def next(self, time: float) -> float:
        """Tell when values change next.

        :return: a time later than `time`; infinity for never.
        """
        if not self._ramps:
            return math.inf
        return min(self.end, (math.floor(time / TICK + _GRAIN) + 1) * TICK)

    def go_on(self, time: float) -> dict[str, float]:
        """Find where ramps have come; those that are at their end go on no more.

        :return: the values by name.
        """
        values = {name: ramp.value(time, start) for name, (ramp, start) in self._ramps.items()}
        self._ramps = {name: each for name, each in self._ramps.items() if each[0].end > time}
        return values

    def begin(self, step: Step, current: Mapping[str, float]) -> dict[str, float]:
        """Begin the ramps of a step, and end those of which it says something else.

        :param current: by name, where ramps begin that do not say it.
        :return: the values by name.
        """
        before, fixed = self.go_on(step.at), touched(step)
        starts = {
            ramp.name: before.get(ramp.name, current.get(ramp.name, 0.0)) if ramp.start is None else ramp.start
            for ramp in step.ramps
        }
        self._ramps = {name: each for name, each in self._ramps.items() if name not in fixed}
        self._ramps |= {ramp.name: (ramp, starts[ramp.name]) for ramp in step.ramps}
        begun = {ramp.name: ramp.value(step.at, starts[ramp.name]) for ramp in step.ramps}
        return {name: value for name, value in before.items() if name not in fixed} | begun


def touched(step: Step) -> list[str]:
    """List what a step gives a new value at once."""
    return [*step.set] if step.kv_pressure is None else [*step.set, PRESSURE]


def options_of(step: Step | None, ramped: Mapping[str, float]) -> dict[str, object]:
    """Gather the options that change at one time, and their new values as a file would have them.

    :param step: what begins then, if something does.
    :param ramped: where ramps are, by name.
    """
    values: dict[str, object] = {} if step is None else dict(step.set)
    for name, value in ramped.items():
        meaning = find(name)
        if meaning is not None:
            values[name] = meaning.option.kind.to_value(value)
    return values
