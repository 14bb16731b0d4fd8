# -*- test-case-name: tests.api.test_control -*-
"""What operators send to a server, as vLLM 0.33 reads it.

Switches take query arguments and no body: ``/pause?mode=abort|wait|keep&clear_cache=true``,
``/sleep?level=0|1|2&mode=...``, ``/wake_up?tags=weights&tags=kv_cache``. The others take a JSON object, whatever its
content type says: ``/abort_requests`` ``{"request_ids": [...]}``, ``/collective_rpc`` ``{"method", "args", "kwargs",
"timeout"}``, ``/scale_elastic_ep`` ``{"new_data_parallel_size", "drain_timeout"}``.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from vllmsim.api.body import Body, Head, read_object, read_untyped, validate
from vllmsim.errors import MalformedRequest
from vllmsim.interfaces import PauseMode

_MOST_TAGS: Final = 16


class PauseQuery(Body):
    """How to pause."""

    mode: PauseMode = "abort"
    clear_cache: bool = True


class SleepQuery(Body):
    """How to fall asleep."""

    level: Annotated[int, Field(ge=0, le=2)] = 1
    mode: PauseMode = "abort"


class WakeQuery(Body):
    """What to wake; None for everything."""

    tags: Annotated[list[Literal["weights", "kv_cache"]], Field(max_length=_MOST_TAGS, fail_fast=True)] | None = None


class ResetQuery(Body):
    """How to empty the prefix cache."""

    reset_running_requests: bool = False
    reset_external: bool = False


class InfoQuery(Body):
    """How to show the configuration."""

    config_format: Literal["text", "json"] = "text"


class WorldQuery(Body):
    """What to count."""

    include_dp: bool = True


class AbortBody(Body):
    """Which requests are to be aborted."""

    request_ids: Annotated[list[str], Field(fail_fast=True)] | None = None


class RpcBody(Body):
    """A call of the workers."""

    method: str | None = None
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    timeout: float | None = None


class ScaleBody(Body):
    """How many ranks there should be."""

    new_data_parallel_size: Annotated[int, Field(ge=1)] | None = None
    drain_timeout: Annotated[int, Field(ge=1)] = 120


class ProfileBody(Body):
    """What is to be profiled."""

    profile_prefix: str | None = None
    delay_iterations: int | None = None
    max_iterations: int | None = None
    profiler_kwargs: dict[str, Any] | None = None


def read_abort(body: bytes, head: Head) -> list[str] | None:
    """Read which requests are to be aborted.

    :param body: JSON, or nothing at all.
    :return: their ids; None if the body does not say.
    :raises MalformedRequest: when it is no list of texts.
    """
    return validate(AbortBody, read_untyped(body, head), body).request_ids if body else None


def check_rpc(body: bytes, head: Head) -> None:
    """Check a call of the workers.

    :raises MalformedRequest: when it has no method, or is no call.
    """
    if validate(RpcBody, read_untyped(body, head), body).method is None:
        raise MalformedRequest("Missing 'method' in request body")


def read_scaling(body: bytes, head: Head) -> int:
    """Read how many ranks there should be.

    :raises MalformedRequest: when the body does not say, or says no positive number.
    """
    size = validate(ScaleBody, read_object(body, head), body).new_data_parallel_size
    if size is None:
        raise MalformedRequest("new_data_parallel_size is required")
    return size


def check_profile(body: bytes, head: Head) -> None:
    """Check what is to be profiled; a body may be missing.

    :raises MalformedRequest: when it is not what the profiler takes.
    """
    if body:
        validate(ProfileBody, read_untyped(body, head), body)
