# -*- test-case-name: tests.api.test_shapes -*-
"""The shapes of what is told of simulated time, and of how it is moved."""

from typing import Literal, NotRequired

from typing_extensions import TypedDict


class ClockState(TypedDict):
    """The clock: its time since the start and since the epoch, in seconds, and the requests that came in that time."""

    clock: Literal["real", "virtual"]
    time_scale: float
    now: float
    time: float
    requests: int
    unfinished: int


class AdvanceBody(TypedDict):
    """By how many seconds time is to go on, how many requests must have come first, and how long all that may take."""

    seconds: float
    requests: NotRequired[int]
    timeout: NotRequired[float]


class RunUntilIdleBody(TypedDict):
    """How far time may go on, how many requests must have come first, and how long all that may take."""

    limit: NotRequired[float]
    requests: NotRequired[int]
    timeout: NotRequired[float]
