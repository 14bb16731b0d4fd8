# -*- test-case-name: tests.calibration.reports.test_vllm -*-
"""Reads what ``vllm bench serve --save-result --save-detailed`` writes.

One object has everything: lists with an item for each request, times in seconds. ``ttfts`` are the times to the first
chunk, ``itls`` those between chunks, ``start_times`` when requests were sent, and ``errors`` is empty for those that
were answered. With ``--append-result`` there is an object on each line.

Releases before ``start_times`` say nothing of when requests were sent. If all came at once, or behind the ends of
others, it is known without.
"""

from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from itertools import accumulate
from typing import Any, Final

from vllmsim.calibration.measured import Measured, Run, in_order
from vllmsim.calibration.reports.fields import ReportError, count, number, numbers, sequence

_LISTS: Final = ("input_lens", "output_lens", "ttfts", "itls", "errors")


def fits(value: Mapping[str, Any]) -> bool:
    """Tell whether an object is such a report."""
    return "total_input_tokens" in value and "request_throughput" in value


def read(title: str, value: Mapping[str, Any]) -> Run:
    """Read a report.

    :raises ReportError: when it does not say enough.
    """
    missing = [name for name in _LISTS if name not in value]
    if missing:
        raise ReportError(
            f"it has no {missing[0]}: vllm bench serve writes what it saw of each request with --save-detailed"
        )
    lists = [sequence(value[name]) for name in _LISTS]
    if len({len(each) for each in lists}) > 1:
        raise ReportError(f"{', '.join(_LISTS)} are not of the same length")
    starts = numbers(value.get("start_times"))
    if len(starts) != len(lists[0]):
        starts = _starts(value, lists)
    found = [
        None if error else _measured(start, count(prompt), count(output), number(first), numbers(gaps))
        for start, prompt, output, first, gaps, error in zip(starts, *lists, strict=True)
    ]
    return in_order(title, found)


def _measured(
    start: float, prompt: int | None, output: int | None, first: float | None, gaps: Sequence[float]
) -> Measured | None:
    """Make a request of what is said of it, if it was answered."""
    if not prompt or not output or not first:
        return None
    times = tuple(accumulate(gaps, initial=first))
    if len(times) == output + 1:
        # Of a chat the first chunk says who speaks, and has no token.
        times = times[1:]
    return Measured(start, prompt, output, times[0], times[-1], times if len(times) == output else ())


def _starts(value: Mapping[str, Any], lists: Sequence[Sequence[Any]]) -> list[float]:
    """Find out when requests were sent that were all there from the beginning.

    :raises ReportError: when they were not.
    """
    if value.get("request_rate") != "inf":
        raise ReportError(
            "it does not say when requests were sent: take a newer vllm bench serve, which writes start_times,"
            " or --request-rate inf"
        )
    places = count(value.get("max_concurrency")) or len(lists[0])
    ended: list[float] = []
    starts: list[float] = []
    for first, gaps in zip(lists[2], lists[3], strict=True):
        start = heappop(ended) if len(ended) >= places else 0.0
        starts.append(start)
        # Added up as :func:`_measured` does it, or one that comes behind another would overlap with it.
        *_, last = accumulate(numbers(gaps), initial=number(first) or 0.0)
        heappush(ended, start + last)
    return starts
