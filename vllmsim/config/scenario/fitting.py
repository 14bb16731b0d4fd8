# -*- test-case-name: tests.config.scenario.test_fitting -*-
"""Finds out whether a scenario goes with a server, from its first step to its last, before it begins."""

import math
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Final, TypeAlias

from attrs import define, field

from vllmsim.config.edits import read_edit
from vllmsim.config.names import find
from vllmsim.config.scenario.course import Course, options_of
from vllmsim.config.scenario.values import PRESSURE, Scenario, Step
from vllmsim.config.schema import Configuration, own_options

_NO_CACHE: Final = "needs a KV cache, which there is with enable-kvcache"

Fault: TypeAlias = tuple[str, str]
"""The path of a member, and what is wrong with it."""


@cache
def _all_names() -> frozenset[str]:
    return frozenset(option.name for option in own_options())


def misfits(scenario: Scenario, configuration: Configuration) -> list[Fault]:
    """Find what does not go with a server.

    :param configuration: what it has when the scenario begins.
    :return: everything that is wrong.
    """
    rehearsal = _Rehearsal(configuration)
    rehearsal.play(scenario)
    return [*_absent(scenario, configuration), *rehearsal.faults]


def _absent(scenario: Scenario, c: Configuration) -> Iterator[Fault]:
    """Find what is asked of a server that it has not."""
    if scenario.rank is not None and scenario.rank not in c.ranks:
        yield "rank", f"{scenario.rank} is none of this server's, which has {', '.join(map(str, c.ranks))}"
    for step in scenario.steps:
        if not c.enable_kvcache and step.kv_pressure is not None:
            yield f"step {step.number}, {PRESSURE}", _NO_CACHE
        if not c.enable_kvcache and any(ramp.name == PRESSURE for ramp in step.ramps):
            yield f"step {step.number}, ramp.{PRESSURE}", _NO_CACHE
        if not c.enable_sleep_mode and step.sleep is not None:
            yield f"step {step.number}, sleep", "needs enable-sleep-mode"
        for name in {each.name for each in step.load} & {*c.served_names}:
            yield f"step {step.number}, load-adapter", f"{name!r} is the name of the model"


@define(eq=False)
class _Rehearsal:
    """Goes through the options of a scenario without a server.

    What a rule says of numbers is true all along a ramp if it is so whenever some ramp begins or ends.

    :param now: the configuration where it has come.
    """

    _now: Configuration
    _course: Course = field(init=False, factory=Course)
    _told: set[str] = field(init=False, factory=set)
    faults: list[Fault] = field(init=False, factory=list)

    def play(self, scenario: Scenario) -> None:
        """Go from the first step to the end of the last ramp."""
        latest = scenario.steps[0]
        for step in scenario.steps:
            self._go_on(latest, step.at)
            self._change(latest, self._course.go_on(step.at))
            self._change(step, self._course.begin(step, self._values(step)), step)
            latest = step
        self._go_on(latest, math.inf)

    def _go_on(self, latest: Step, until: float) -> None:
        while (end := self._course.end) < until:
            self._change(latest, self._course.go_on(end))

    def _values(self, step: Step) -> dict[str, float]:
        """Find where the ramps of a step begin that do not say it."""
        values: dict[str, float] = {}
        for ramp in step.ramps:
            meaning = find(ramp.name)
            value = getattr(self._now, meaning.option.attribute) if meaning else 0.0
            values[ramp.name] = ramp.stop if value is None else value
            if value is None and ramp.start is None:
                self.faults.append((f"step {step.number}, ramp.{ramp.name}", "has no value that it could begin with"))
        return values

    def _change(self, blamed: Step, ramped: Mapping[str, float], step: Step | None = None) -> None:
        self._now, wrong = read_edit(options_of(step, ramped)).applied(self._now, _all_names())
        new = [(name, fault) for name, fault in wrong if name not in self._told]
        self._told |= {name for name, _ in new}
        self.faults += [(f"step {blamed.number}, {name}", fault.removeprefix(f"{name}: ")) for name, fault in new]
