# -*- test-case-name: tests.config.test_fakemetrics -*-
"""The ``fake-metrics`` option: metric values to show instead of what really happens.

Its members are those of llm-d-inference-sim, with the two spellings it has for the token totals. So are the words in
brackets for what is wrong with one, for which its clients may look.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from attrs import field, frozen

from vllmsim.config.metricfunctions import MetricFunction, parse_function

FINISH_REASONS: Final = ("stop", "length", "tool_calls", "remote_decode", "cache_threshold")
"""Reasons that are shown wherever any is named."""
_VLLM_REASONS: Final = ("abort", "error", "repetition")
BUCKET_LIMITS: Final[Mapping[str, int | None]] = {
    "ttft-buckets-values": 23,
    "tpot-buckets-values": 20,
    "e2erl-buckets-values": 21,
    "queue-time-buckets-values": 21,
    "inf-time-buckets-values": 21,
    "prefill-time-buckets-values": 21,
    "decode-time-buckets-values": 21,
    "request-tpot-buckets-values": 20,
    "request-prompt-tokens": None,
    "request-generation-tokens": None,
    "request-params-max-tokens": None,
    "request-max-generation-tokens": None,
}
"""Histograms and how many buckets they have, ``+Inf`` included; None where that follows `max-model-len`."""
_MOST_BUCKETS: Final = 64
"""More than any histogram has whose buckets follow `max-model-len`."""
_MOST_ADAPTERS: Final = 1000
_MOST: Final = 2**63 - 1
_MOST_SHOWN: Final = 200
_OLD_NAMES: Final = {"totalprompttokens": "total-prompt-tokens", "totalgenerationtokens": "total-generation-tokens"}
TOTALS: Final[Mapping[str, str]] = {
    "total-prompt-tokens": "request-prompt-tokens",
    "total-generation-tokens": "request-generation-tokens",
}
"""Totals, and the histograms from which they follow unless they are given."""
_LATENCIES: Final = {
    "ttft-buckets-values": "time-to-first-token",
    "tpot-buckets-values": "time-per-output-token",
}
_COUNTS: Final = ("total-prompt-tokens", "total-generation-tokens", "prefix-cache-hits", "prefix-cache-queries")


class InvalidMembers(ValueError):
    """Several members of one structured option are wrong.

    :param faults: the member's path below the option, and what is wrong with it.
    """

    def __init__(self, faults: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{member}: {fault}" for member, fault in faults))
        self.faults = faults


Level: TypeAlias = float | MetricFunction


@frozen
class FakeAdapters:
    """One series of ``vllm:lora_requests_info``: comma-joined adapter names, and its value."""

    running: str = ""
    waiting: str = ""
    timestamp: float = 0.0


@frozen
class FakeMetrics:
    """What to show. Everything that is None or absent is as in a server that has done nothing.

    :param buckets: for each histogram, how many observations fall on each bucket; one without any is not shown at all.
    :param counts: totals by option name.
    """

    running_requests: Level | None = None
    waiting_requests: Level | None = None
    kv_cache_usage: Level | None = None
    loras: tuple[FakeAdapters, ...] | None = None
    buckets: Mapping[str, tuple[int, ...]] = field(factory=dict)
    request_success_total: Mapping[str, int] | None = None
    counts: Mapping[str, int] = field(factory=dict)


def _level(value: object, most: float = float("inf")) -> Level:
    if isinstance(value, str):
        function = parse_function(value)
        if max(function.start, function.end) > most:
            raise ValueError(
                f"start and end must be from 0 to {most:g} (fake metrics KV cache usage start and end must be between"
                " 0 and 1)"
            )
        return function
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most or value == float("inf"):
        raise ValueError(f"must be {'at least 0' if most == float('inf') else f'from 0 to {most:g}'}, or a function")
    return float(value)


def _usage(value: object) -> Level:
    return _level(value, 1.0)


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST:
        raise ValueError("must be an integer of at least 0, and below 2**63")
    return value


def _adapters(value: object) -> FakeAdapters:
    if not isinstance(value, Mapping):
        raise ValueError("must be a map of running, waiting and timestamp")
    unknown = sorted(set(map(str, value)) - {"running", "waiting", "timestamp"})
    running, waiting = value.get("running") or "", value.get("waiting") or ""
    if unknown or not isinstance(running, str) or not isinstance(waiting, str):
        raise ValueError("must be a map of running and waiting, which are texts, and timestamp")
    timestamp = value.get("timestamp") or 0.0
    if isinstance(timestamp, bool) or not isinstance(timestamp, int | float) or not math.isfinite(timestamp):
        raise ValueError("must be a map of running, waiting and a number timestamp")
    # JSON can say halves of surrogate pairs, which no page can have.
    running, waiting = (text.encode("utf-8", "replace").decode() for text in (running, waiting))
    return FakeAdapters(running, waiting, float(timestamp))


def _words(member: str, value: object) -> str:
    """Say in llm-d-inference-sim's words that a number is out of its range; nothing of what is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    name = member.partition("[")[0]
    if name == "kv-cache-usage":
        return " (fake metrics KV cache usage must be between 0 and 1)"
    words = f"fake metrics {name} cannot be negative"
    if name in _LATENCIES:
        words = f"{_LATENCIES[name]} fake metrics should contain only non-negative values"
    elif name in BUCKET_LIMITS:
        words = f"fake metrics {name} cannot contain negative values"
    elif name in {"running-requests", "waiting-requests"}:
        words = "fake metrics request counters cannot be negative"
    elif name.startswith("request-success-total."):
        words += f", got {value}"
    return f" ({words})" if value < 0 else ""


class _Reader:
    """Takes the members of one ``fake-metrics`` object and remembers every fault."""

    def __init__(self, members: Mapping[str, object]) -> None:
        self._members = dict(members)
        self.faults: list[tuple[str, str]] = []

    def take(self, name: str, read: Callable[[object], Any]) -> Any:
        value = self._members.pop(name, None)
        return None if value is None else self._read(name, value, read)

    def _read(self, name: str, value: object, read: Callable[[object], Any]) -> Any:
        try:
            return read(value)
        except ValueError as error:
            self.faults.append((name, f"{error}{_words(name, value)}"))
        except (OverflowError, RecursionError):
            self.faults.append((name, "is too large"))
        return None

    def counts(self, name: str, most: int | None) -> tuple[int, ...] | None:
        value = self._members.pop(name, None)
        if value is None:
            return None
        if not isinstance(value, list):
            self.faults.append((name, "must be a list of integers of at least 0"))
            return None
        if len(value) > (most or _MOST_BUCKETS):
            words = f" (fake {_LATENCIES[name]} array is too long)" if name in _LATENCIES else ""
            self.faults.append((name, f"has {len(value)} entries for {most or 'at most 64'} buckets{words}"))
            return None
        return tuple(self._read(f"{name}[{i}]", each, _count) or 0 for i, each in enumerate(value))

    def reasons(self, name: str) -> Mapping[str, int] | None:
        value = self._members.pop(name, None)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            self.faults.append((name, "must be a map from finish reason to count"))
            return None
        known = (*FINISH_REASONS, *_VLLM_REASONS)
        unknown = sorted(set(map(str, value)) - set(known))
        if unknown:
            shown = unknown[0][:_MOST_SHOWN]
            words = f" (invalid finish reason in {name}: {shown})"
            self.faults.append((f"{name}.{shown}", f"is no finish reason; there are {', '.join(known)}{words}"))
        reasons = [reason for reason in known if reason in FINISH_REASONS or reason in value]
        return {r: self._read(f"{name}.{r}", value.get(r, 0), _count) or 0 for r in reasons}

    def unknown(self) -> None:
        self.faults += [(name[:_MOST_SHOWN], "is no member of fake-metrics") for name in self._members]


def merge_fake_metrics(current: FakeMetrics, update: object) -> FakeMetrics:
    """Change some members. A histogram takes the total that follows from it along, unless the update has that too.

    :param update: the members to change, as :func:`parse_fake_metrics` reads them; those that are None stay.
    :raises InvalidMembers: naming every member that is wrong.
    :raises ValueError: when it is no map at all.
    """
    members, changes = write_fake_metrics(current), _members(update)
    for total, histogram in TOTALS.items():
        if changes.get(histogram) is not None:
            members.pop(total, None)
    return parse_fake_metrics(members | {name: value for name, value in changes.items() if value is not None})


def _members(value: object) -> dict[str, object]:
    """Name members as they are called now.

    :raises ValueError: when it is no map at all.
    """
    if not isinstance(value, Mapping):
        raise ValueError("it is not a map")
    return {_OLD_NAMES.get(str(key), str(key)): member for key, member in value.items()}


def parse_fake_metrics(value: object) -> FakeMetrics:
    """Read the option's value.

    :raises InvalidMembers: naming every member that is wrong.
    :raises ValueError: when it is no map at all.
    """
    reader = _Reader(_members(value))
    metrics = FakeMetrics(
        running_requests=reader.take("running-requests", _level),
        waiting_requests=reader.take("waiting-requests", _level),
        kv_cache_usage=reader.take("kv-cache-usage", _usage),
        loras=reader.take("loras", _all_adapters),
        buckets={
            name: counts for name, most in BUCKET_LIMITS.items() if (counts := reader.counts(name, most)) is not None
        },
        request_success_total=reader.reasons("request-success-total"),
        counts={name: count for name in _COUNTS if (count := reader.take(name, _count)) is not None},
    )
    reader.unknown()
    hits, queries = metrics.counts.get("prefix-cache-hits"), metrics.counts.get("prefix-cache-queries")
    if (hits is None) != (queries is None):
        words = "(fake metrics prefix-cache-hits and prefix-cache-queries must be specified together)"
        reader.faults.append(("prefix-cache-hits", f"goes together with prefix-cache-queries {words}"))
    elif hits is not None and queries is not None and hits > queries:
        words = "(fake metrics prefix-cache-hits cannot exceed prefix-cache-queries)"
        reader.faults.append(("prefix-cache-hits", f"cannot be more than prefix-cache-queries {words}"))
    if reader.faults:
        raise InvalidMembers(reader.faults)
    return metrics


def _all_adapters(value: object) -> tuple[FakeAdapters, ...]:
    import json  # noqa: PLC0415 - one rare form of one rare option

    if not isinstance(value, list) or len(value) > _MOST_ADAPTERS:
        raise ValueError(f"must be a list of at most {_MOST_ADAPTERS}")
    return tuple(_adapters(json.loads(each) if isinstance(each, str) else each) for each in value)


def write_fake_metrics(metrics: FakeMetrics) -> dict[str, object]:
    """Write the option's value as :func:`parse_fake_metrics` reads it."""

    def level(value: Level | None) -> object:
        return str(value) if isinstance(value, MetricFunction) else value

    members: dict[str, object] = {
        "running-requests": level(metrics.running_requests),
        "waiting-requests": level(metrics.waiting_requests),
        "kv-cache-usage": level(metrics.kv_cache_usage),
        "loras": None
        if metrics.loras is None
        else [{"running": a.running, "waiting": a.waiting, "timestamp": a.timestamp} for a in metrics.loras],
        "request-success-total": None if metrics.request_success_total is None else dict(metrics.request_success_total),
        **{name: list(counts) for name, counts in metrics.buckets.items()},
        **metrics.counts,
    }
    return {name: value for name, value in members.items() if value is not None}
