# -*- test-case-name: tests.config.test_buckets -*-
"""The ``custom-histogram-buckets`` option: bounds of histograms, by vLLM's names for those that belong together."""

import math
import operator
from collections.abc import Mapping
from typing import Final

BUCKET_FAMILIES: Final = (
    "request_latency", "time_to_first_token", "inter_token_latency", "iteration_tokens", "request_params_n",
    "request_tokens", "kv_cache_residency",
)  # fmt: skip
_MOST: Final = 200
"""Each bound is a line for each histogram; nobody reads so many."""


def parse_buckets(value: object) -> dict[str, tuple[float, ...]]:
    """Read the option's value.

    :return: the bounds of the histograms of each family that is named, ascending.
    :raises ValueError: when it is no map, names no family, or has bounds that cannot be.
    """
    if not isinstance(value, Mapping):
        raise ValueError("it is not a map")
    for name in value:
        if name not in BUCKET_FAMILIES:
            raise ValueError(f"{name!r} is none of {', '.join(BUCKET_FAMILIES)}")
    return {str(name): _bounds(str(name), bounds) for name, bounds in value.items()}


def write_buckets(buckets: Mapping[str, tuple[float, ...]]) -> dict[str, list[float]]:
    """Write the option's value as :func:`parse_buckets` reads it."""
    return {name: list(bounds) for name, bounds in buckets.items()}


def _bounds(name: str, value: object) -> tuple[float, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= _MOST:
        raise ValueError(f"{name} must be a list of 1 to {_MOST} numbers")
    if any(isinstance(each, bool) or not isinstance(each, int | float) for each in value):
        raise ValueError(f"{name} must be a list of numbers")
    bounds = tuple(map(float, value))
    if bounds[0] <= 0 or not math.isfinite(bounds[-1]) or not all(map(operator.lt, bounds, bounds[1:])):
        raise ValueError(f"the numbers of {name} must be above 0 and ascending")
    return bounds
