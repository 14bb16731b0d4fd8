# -*- test-case-name: tests.api.test_ratelimits -*-
"""How clients are told of rate limits, and what a request is likely to cost.

OpenAI's way: ``x-ratelimit-limit-requests``, ``x-ratelimit-remaining-requests`` and ``x-ratelimit-reset-requests``, and
the same for tokens; the last is the time until all is there again, such as ``20ms``, ``1.5s`` or ``6m0s``. Anthropic's:
``anthropic-ratelimit-requests-limit``, ``-remaining`` and ``-reset``, and the same for tokens; the last is a point in
time. Who is refused is told when to try again in both: ``retry-after`` in whole seconds, and ``retry-after-ms``.
"""

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from attrs import frozen

from vllmsim.errors import RateLimited

_BYTES_PER_TOKEN: Final = 4
_LONGEST_READ: Final = 1 << 18
"""Bodies of up to this length are read for the most tokens of their answers: that takes a millisecond."""
_LIMITS: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_MOST: Final = 1 << 31
_LONGEST: Final = 1e9
"""Seconds; much later there are no dates."""


@frozen
class Level:
    """How much of something is left.

    :param kind: what it is: ``requests`` or ``tokens``.
    :param limit: how much of it there is in a minute.
    :param remaining: how much there is now.
    :param reset: seconds until all is there again.
    """

    kind: str
    limit: int
    remaining: int
    reset: float


def openai_headers(level: Level) -> Iterator[tuple[bytes, bytes]]:
    """Tell a client of OpenAI what is left."""
    for name, value in (("limit", level.limit), ("remaining", level.remaining), ("reset", duration(level.reset))):
        yield f"x-ratelimit-{name}-{level.kind}".encode(), str(value).encode()


def anthropic_headers(level: Level, now: float) -> Iterator[tuple[bytes, bytes]]:
    """Tell a client of Anthropic what is left.

    :param now: seconds since the epoch.
    """
    # Whole seconds are what there is in this form, and a client must not come too soon.
    reset = datetime.fromtimestamp(math.ceil(now + min(level.reset, _LONGEST)), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    for name, value in (("limit", level.limit), ("remaining", level.remaining), ("reset", reset)):
        yield f"anthropic-ratelimit-{level.kind}-{name}".encode(), str(value).encode()


def retry_headers(seconds: float | None) -> Iterator[tuple[bytes, bytes]]:
    """Tell a client when to try again.

    :param seconds: None for never.
    """
    if seconds is None:
        yield b"x-should-retry", b"false"
    else:
        yield b"retry-after", b"%d" % math.ceil(seconds)
        yield b"retry-after-ms", b"%d" % math.ceil(seconds * 1000)


def duration(seconds: float) -> str:
    """Write a time as OpenAI does, to the millisecond and not too short."""
    milliseconds = math.ceil(round(seconds * 1000, 3))
    if 0 < milliseconds < 1000:  # noqa: PLR2004 - a second
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:g}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{hours}h{text}" if hours else text


def refusal(level: Level, amount: int, wait: float | None) -> RateLimited:
    """Make what a client is told for which there is no room.

    :param amount: how much it wants.
    :param wait: seconds until there is room; None for never.
    """
    what = f"{level.kind} per minute: the limit is {level.limit}, {level.remaining} are left, {amount} are asked for."
    advice = "The request is too large for the limit." if wait is None else f"Please try again in {duration(wait)}."
    return RateLimited(level.kind, f"Rate limit reached for {what} {advice}")


def estimated_tokens(body: bytes) -> int:
    """Estimate how many tokens a request takes, from its length and from what it sets as the most for its answers."""
    tokens = -(-len(body) // _BYTES_PER_TOKEN)
    if len(body) <= _LONGEST_READ:
        try:
            asked = orjson.loads(body)
        except ValueError:
            return tokens
        if isinstance(asked, Mapping):
            most = next((n for name in _LIMITS if (n := _count(asked.get(name)))), 0)
            tokens += most * max(1, _count(asked.get("n")))
    return min(tokens, _MOST)


def _count(value: Any) -> int:
    return min(value, _MOST) if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
