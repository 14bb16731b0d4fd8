# -*- test-case-name: tests.calibration.reports.test_guidellm -*-
"""Reads what guidellm writes as JSON.

A report has a benchmark for each rate or concurrency that was tried, and a benchmark has its requests: times are
seconds since 1970, and of the tokens there are only the first and the last. Where those are has changed: releases up to
0.2 have ``start_time``, ``first_token_time`` and ``last_token_time`` in the request itself, those up to 0.4
``info.timings.first_iteration`` and ``last_iteration``, and later ones ``first_token_iteration`` and
``last_token_iteration`` there.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from vllmsim.calibration.measured import Measured, Run, in_order
from vllmsim.calibration.reports.fields import ReportError, count, mapping, number, sequence


def fits(value: Mapping[str, Any]) -> bool:
    """Tell whether an object is such a report."""
    return "benchmarks" in value


def read(title: str, value: Mapping[str, Any]) -> Iterator[Run]:
    """Read a report, benchmark by benchmark.

    :raises ReportError: when it does not say enough.
    """
    benchmarks = sequence(value["benchmarks"])
    for position, each in enumerate(benchmarks, 1):
        benchmark = mapping(each)
        yield _run(f"{title}, benchmark {position}" if len(benchmarks) > 1 else title, benchmark)


def _run(title: str, benchmark: Mapping[str, Any]) -> Run:
    kinds = mapping(benchmark.get("requests"))
    answered = [mapping(each) for each in sequence(kinds.get("successful"))]
    total = _total(benchmark)
    if total is not None and len(answered) < total:
        raise ReportError(
            f"it has {len(answered)} of {total} requests that were answered: run guidellm without a sample of them"
        )
    failed = sum(len(sequence(kinds.get(kind))) for kind in ("incomplete", "errored"))
    return in_order(title, [_measured(each) for each in answered], failed)


def _total(benchmark: Mapping[str, Any]) -> int | None:
    """Tell how many requests were answered, whether they are there or not."""
    places = (mapping(benchmark.get("metrics")).get("request_totals"), benchmark.get("request_totals"))
    for place in (*places, benchmark.get("total_count")):
        total = count(mapping(place).get("successful"))
        if total is not None:
            return total
    return None


def _measured(request: Mapping[str, Any]) -> Measured | None:
    timings = mapping(mapping(request.get("info") or request.get("scheduler_info")).get("timings"))
    start = _first_of(timings, "request_start", "resolve_start") or number(request.get("start_time"))
    first = _first_of(timings, "first_token_iteration", "first_iteration") or number(request.get("first_token_time"))
    last = _first_of(timings, "last_token_iteration", "last_iteration") or number(request.get("last_token_time"))
    prompt = count(request.get("prompt_tokens")) or _tokens(request.get("input_metrics"))
    output = count(request.get("output_tokens")) or _tokens(request.get("output_metrics"))
    if start is None or first is None or last is None or not prompt or not output:
        return None
    return Measured(start, prompt, output, first - start, last - start)


def _first_of(values: Mapping[str, Any], *names: str) -> float | None:
    return next((taken for name in names if (taken := number(values.get(name))) is not None), None)


def _tokens(metrics: object) -> int | None:
    values = mapping(metrics)
    return count(values.get("total_tokens")) or count(values.get("text_tokens"))
