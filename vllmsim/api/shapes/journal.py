# -*- test-case-name: tests.api.test_records -*-
"""The shapes of what the journal tells of requests."""

from typing import Any, NotRequired

from typing_extensions import TypedDict

from vllmsim.records import Outcome, State


class RecordedError(TypedDict):
    """What a client was told of what went wrong."""

    type: str
    message: str


class RecordedChoice(TypedDict):
    """One choice of an answer that has come to its end."""

    index: int
    tokens: int
    finish_reason: str | None


class RecordedTimes(TypedDict):
    """When a request reached each stage, in seconds since its arrival."""

    queued: float | None
    started: float | None
    first_token: float | None
    last_token: float | None
    finished: float | None


class RecordedRequest(TypedDict):
    """What is remembered of a request; its body is shown where it is asked for."""

    number: int
    rank: int
    id: str | None
    request_id: str | None
    engine_ids: list[str]
    trace_id: str | None
    route: str
    tenant: str | None
    method: str | None
    path: str | None
    state: State
    outcome: Outcome | None
    status: int | None
    grpc_status: str | None
    error: RecordedError | None
    fault: str | None
    model: str | None
    asked: str | None
    adapter: str | None
    stream: bool
    n: int | str
    prompts: int
    priority: int
    sampling: dict[str, Any]
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    preemptions: int
    choices: list[RecordedChoice]
    waiting: int
    running: int
    arrived: float
    times: RecordedTimes
    planned_time_to_first_token: float | None
    headers: dict[str, str]
    body_bytes: int
    body: NotRequired[Any]


class SequenceCounts(TypedDict):
    """How many sequences of one model wait, and how many run."""

    waiting: int
    running: int


class RecordedRequests(TypedDict):
    """Requests, how many there are that pass the filters, and how many were forgotten to make room.

    The sequences are those of all requests, by model, at the moment at which the question came.
    """

    requests: list[RecordedRequest]
    total: int
    dropped: int
    sequences: dict[str, SequenceCounts]


class Forgotten(TypedDict):
    """How many requests were forgotten."""

    forgotten: int
