# -*- test-case-name: tests.api.test_shapes -*-
"""The shapes of what operators are answered."""

from typing import Any, Literal

from typing_extensions import TypedDict


class Aborted(TypedDict):
    """How many requests have ended."""

    status: Literal["aborted"]
    aborted: int


class Paused(TypedDict):
    """That the rank is paused."""

    status: Literal["paused"]


class Resumed(TypedDict):
    """That the rank goes on."""

    status: Literal["resumed"]


class IsPaused(TypedDict):
    """Whether the rank is paused."""

    is_paused: bool


class Slept(TypedDict):
    """What the rank is after it was told to sleep."""

    status: Literal["sleeping", "awake"]
    level: int


class Woken(TypedDict):
    """What the rank is after it was told to wake up, and which part of it was."""

    status: Literal["sleeping", "awake"]
    tags: list[str] | None


class IsSleeping(TypedDict):
    """Whether the rank is asleep."""

    is_sleeping: bool


class ServerInfo(TypedDict):
    """How the server is set up, and where it runs."""

    vllm_config: str | dict[str, Any]
    vllm_env: dict[str, str]
    system_env: dict[str, Any]


class CacheReset(TypedDict):
    """Whether the cache could be emptied."""

    success: bool


class RpcResults(TypedDict):
    """What each worker answered."""

    results: list[Any]


class WorldSize(TypedDict):
    """How many workers there would be."""

    world_size: int


class Scaled(TypedDict):
    """What has been done."""

    message: str


class ScalingState(TypedDict):
    """Whether ranks come or go."""

    is_scaling_elastic_ep: bool
    phase: str
    epoch: int | None
    error: str | None
    requested_data_parallel_size: int | None
