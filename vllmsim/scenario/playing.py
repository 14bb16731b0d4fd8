# -*- test-case-name: tests.scenario.test_playing -*-
"""One scenario while it is played, and what is told of it."""

from collections.abc import Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred

from vllmsim.config.scenario.values import FOR_EVER, Scenario, Step
from vllmsim.scenario.stage import Stage


@define(eq=False)
class Playing:
    """How far a scenario has come.

    :param stages: the ranks that it is played on.
    :param seed: what everything random began from.
    :param begun: when it began, by the clock.
    :param started: the same in seconds since the epoch.
    """

    scenario: Scenario
    stages: Sequence[Stage]
    seed: int
    begun: float
    started: float
    round: int = field(init=False, default=1)
    taken: int = field(init=False, default=0)
    """How many steps of this round have begun."""
    time: float = field(init=False, default=0.0)
    """Up to which time of this round everything has been done, in seconds from its start."""
    troubles: dict[int, str] = field(init=False, factory=dict)
    """By the number of a step, what went wrong when it was taken last."""
    stopping: bool = field(init=False, default=False)
    """Whether it is to end before its time."""
    hurried: int = field(init=False, default=0)
    """How many times in a row were over when they should have been waited for."""
    waiting: Deferred[None] | None = field(init=False, default=None)
    """Fires when it goes on, if it waits; cancelling it has it look whether it is to end."""
    done: Deferred[None] = field(init=False, factory=Deferred)
    """Fires when all is over, and as it was before."""
    outcome: str | None = field(init=False, default=None)
    """How it ended: ``finished``, ``stopped`` or ``failed``; None until then."""
    lasted: float = field(init=False, default=0.0)
    """How many seconds it took, once it has ended."""

    @property
    def round_begun(self) -> float:
        """When this round began, by the clock."""
        return self.begun + (self.round - 1) * self.scenario.duration

    def ramping(self, name: str | None = None) -> Step:
        """Find the last step that has begun a ramp.

        :param name: of what; None for anything.
        """
        begun = self.scenario.steps[: self.taken]
        return next(step for step in reversed(begun) for ramp in step.ramps if name in {None, ramp.name})

    def describe(self, now: float) -> dict[str, Any]:
        """Show it as JSON can.

        :param now: the time, by the clock.
        """
        scenario, running = self.scenario, self.outcome is None
        following = scenario.steps[self.taken] if running and self.taken < len(scenario.steps) else None
        return {
            "name": scenario.name,
            "note": scenario.note,
            "seed": self.seed,
            "ranks": [stage.number for stage in self.stages],
            "started": self.started,
            "requests_before": {str(stage.number): stage.came for stage in self.stages},
            "elapsed": round(now - self.begun if running else self.lasted, 6),
            "duration": scenario.duration,
            "round": self.round,
            "repeat": FOR_EVER if scenario.repeat is None else scenario.repeat,
            "keep": scenario.keep,
            "outcome": self.outcome,
            "steps": [
                {
                    "step": step.number,
                    "at": step.at,
                    "does": step.shown,
                    "note": step.note,
                    "done": step.number <= self.taken,
                    "trouble": self.troubles.get(step.number),
                }
                for step in scenario.steps
            ],
            "next": None
            if following is None
            else {"step": following.number, "in": round(self.round_begun + following.at - now, 6)},
            "changed": {str(stage.number): stage.changed() for stage in self.stages} if running else {},
        }
