# -*- test-case-name: tests.calibration.reports.test_aiperf -*-
"""Reads the records of aiperf, ``profile_export.jsonl``.

Each line is a request: ``metadata`` has its times in nanoseconds since 1970, and ``metrics`` values with their units.
``inter_chunk_latency`` has the times between chunks; where there is a chunk for each token, they are those of tokens.
What the server says it has counted (``usage_prompt_tokens``) goes before what aiperf has.

``profile_export_aiperf.json``, which is beside it, has means alone.
"""

from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any, Final

from vllmsim.calibration.measured import Measured, Run, in_order
from vllmsim.calibration.reports.fields import count, mapping, number, numbers

_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0, "seconds": 1.0}
_NANOSECONDS: Final = 1e-9


def fits(value: Mapping[str, Any]) -> bool:
    """Tell whether an object is the record of a request."""
    return "request_start_ns" in mapping(value.get("metadata"))


def summarizes(value: Mapping[str, Any]) -> bool:
    """Tell whether an object has means over a run alone."""
    return "avg" in mapping(value.get("request_latency"))


def read(title: str, values: Iterable[Mapping[str, Any]]) -> Run:
    """Read the records of a run; those of its warm-up are not of it."""
    records = [each for each in values if mapping(each["metadata"]).get("benchmark_phase") != "warmup"]
    begun = min((count(each["metadata"]["request_start_ns"]) or 0 for each in records), default=0)
    return in_order(title, [_measured(each, begun) for each in records])


def _measured(record: Mapping[str, Any], begun: int) -> Measured | None:
    """Make a request of its record, if it was answered."""
    metrics = mapping(record.get("metrics"))
    start = count(record["metadata"]["request_start_ns"])
    prompt = _tokens(metrics, "usage_prompt_tokens", "input_sequence_length")
    output = _tokens(metrics, "usage_completion_tokens", "output_sequence_length")
    first, whole = _times(metrics, "time_to_first_token"), _times(metrics, "request_latency")
    if record.get("error") or start is None or not prompt or not output or not first or not whole:
        return None
    times = tuple(accumulate(_times(metrics, "inter_chunk_latency"), initial=first[0]))
    last = times[-1] if len(times) > 1 or output == 1 else whole[0]
    # Less whole nanoseconds: as seconds since 1970 a float has no room for them.
    since = (start - begun) * _NANOSECONDS
    return Measured(since, prompt, output, first[0], last, times if len(times) == output else ())


def _tokens(metrics: Mapping[str, Any], *names: str) -> int | None:
    return next((taken for name in names if (taken := count(mapping(metrics.get(name)).get("value")))), None)


def _times(metrics: Mapping[str, Any], name: str) -> list[float]:
    """Take a value, or several, in seconds."""
    metric = mapping(metrics.get(name))
    unit, value = _SECONDS.get(str(metric.get("unit"))), metric.get("value")
    if unit is None:
        return []
    one = number(value)
    return [each * unit for each in (numbers(value) if one is None else [one])]
