# -*- test-case-name: tests.api.test_loadreport -*-
"""Load reports in Envoy's ORCA form: what a gateway is told of a server's load, in a header of its answers.

Where a request has ``endpoint-load-metrics-format: TEXT`` or ``JSON``, vLLM has the answer of a chat or a completion
that is not streamed carry one of::

    endpoint-load-metrics: TEXT named_metrics.num_requests_waiting=0.0, named_metrics.kv_cache_usage_perc=0.0
    endpoint-load-metrics: JSON {"named_metrics": {"num_requests_waiting": 0.0, "kv_cache_usage_perc": 0.0}}
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Final

FORMAT_HEADER: Final = b"endpoint-load-metrics-format"
REPORT_HEADER: Final = b"endpoint-load-metrics"
_PREFIX: Final = "vllm:"
_METRICS: Final[Mapping[str, Callable[[Sequence[float]], float]]] = {
    "num_requests_waiting": sum,
    "kv_cache_usage_perc": max,
}
"""What is reported, and how the values of several ranks behind one port become one."""
SAMPLES: Final = frozenset(_PREFIX + name for name in _METRICS)
"""The samples that a report needs."""


def load_report(form: str, page: bytes) -> str | None:
    """Write a report.

    :param form: what the request's header says.
    :param page: the samples, in Prometheus' text format; those that are missing are not reported.
    :return: what the answer's header says; None if there is no such form.
    """
    values: dict[str, list[float]] = {}
    for line in page.decode().splitlines():
        if line.startswith(_PREFIX):
            name = line.removeprefix(_PREFIX).partition("{")[0]
            values.setdefault(name, []).append(float(line.rpartition(" ")[2]))
    named = {name: float(join(values[name])) for name, join in _METRICS.items() if name in values}
    if form.upper() == "JSON":
        return f"JSON {json.dumps({'named_metrics': named})}"
    if form.upper() == "TEXT":
        return "TEXT " + ", ".join(f"named_metrics.{name}={value}" for name, value in named.items())
    return None
