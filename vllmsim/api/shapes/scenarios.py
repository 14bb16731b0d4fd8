# -*- test-case-name: tests.api.test_shapes -*-
"""The shapes of scenarios, and of what is told of one."""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict


class ScenarioStep(TypedDict):
    """What happens at one time; beside that, anything that may."""

    at: str
    note: NotRequired[str]
    set: NotRequired[dict[str, Any]]


class ScenarioBody(TypedDict):
    """A scenario."""

    name: str
    seed: NotRequired[int]
    duration: NotRequired[str]
    steps: list[ScenarioStep]


class StepState(TypedDict):
    """A step: when it is in seconds, what it does, whether it has begun, and what went wrong then."""

    step: int
    at: float
    does: dict[str, Any]
    note: str
    done: bool
    trouble: str | None


# A word of Python's is no member of a class.
NextStep = TypedDict("NextStep", {"step": int, "in": float})
NextStep.__doc__ = "The next step, and in how many seconds it begins."


class Played(TypedDict):
    """A scenario that is played, or was: times in seconds, the first since the epoch.

    By rank it tells how many requests had come before, and what is changed now.
    """

    name: str
    note: str
    seed: int
    ranks: list[int]
    started: float
    requests_before: dict[str, int]
    elapsed: float
    duration: float
    round: int
    repeat: int | Literal["forever"]
    keep: bool
    outcome: Literal["finished", "stopped", "failed"] | None
    steps: list[StepState]
    next: NextStep | None
    changed: dict[str, dict[str, Any]]


class ScenarioState(TypedDict):
    """Whether a scenario is played, and the one that is, or was last."""

    running: bool
    scenario: Played | None
