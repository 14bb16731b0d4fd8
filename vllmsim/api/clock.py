# -*- test-case-name: tests.api.test_clock -*-
"""How a virtual clock is moved over HTTP.

``POST /admin/clock/advance`` takes ``{"seconds": 1.5}``, and ``POST /admin/clock/run-until-idle`` takes ``{}`` or no
body. Both may have ``requests``, so many of which must have come since the start before time goes on, and ``timeout``
in real seconds; the second has ``limit`` in simulated seconds. The answer is what ``GET /admin/clock`` tells.
"""

from typing import Annotated, Final

from pydantic import ConfigDict, Field

from vllmsim.api.body import Body, Head, read_untyped, validate

_LONGEST: Final = 3600.0
"""Real seconds that a call may take at the most."""
_FARTHEST: Final = 1e7
"""Simulated seconds by which a call may move time at the most."""


class Move(Body):
    """What every call may say."""

    model_config = ConfigDict(extra="forbid")

    requests: Annotated[int, Field(ge=0)] = 0
    timeout: Annotated[float, Field(gt=0, le=_LONGEST)] = 60.0


class Advance(Move):
    """By how many seconds time is to go on."""

    seconds: Annotated[float, Field(ge=0, le=_FARTHEST, allow_inf_nan=False)]


class RunUntilIdle(Move):
    """By how many seconds time may go on."""

    limit: Annotated[float, Field(ge=0, le=_FARTHEST, allow_inf_nan=False)] = 3600.0


def read_advance(body: bytes, head: Head) -> Advance:
    """Read by how many seconds time is to go on.

    :raises MalformedRequest: when that cannot be.
    """
    return validate(Advance, read_untyped(body, head), body)


def read_run_until_idle(body: bytes, head: Head) -> RunUntilIdle:
    """Read how far time may go on.

    :raises MalformedRequest: when that cannot be.
    """
    return validate(RunUntilIdle, read_untyped(body or b"{}", head), body)
