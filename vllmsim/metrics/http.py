# -*- test-case-name: tests.metrics.test_http -*-
"""Metrics of the HTTP server: the ``http_*`` families that vLLM's server exports."""

from collections.abc import Iterator
from typing import Final

from attrs import define, field
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from zope.interface import implementer

from vllmsim.interfaces import IHttpMetrics
from vllmsim.metrics import series
from vllmsim.metrics.series import Histogram, Summary

UNCOUNTED: Final = frozenset(
    {"/metrics", "/metrics/", "/health", "/health/ready", "/ready", "/load", "/ping", "/version", "/server_info"}
)
"""Routes that are probed rather than used."""


@implementer(IHttpMetrics)
@define(eq=False)
class HttpMetrics(Collector):
    """Counts HTTP exchanges.

    :param created: when counting began, in seconds since the epoch.
    """

    _created: float
    _requests: dict[tuple[str, str, str], int] = field(init=False, factory=dict)
    _request_sizes: dict[str, Summary] = field(init=False, factory=dict)
    _response_sizes: dict[str, Summary] = field(init=False, factory=dict)
    _fine: Histogram = field(init=False, factory=lambda: Histogram(series.HTTP_FINE_BUCKETS))
    _durations: dict[tuple[str, str], Histogram] = field(init=False, factory=dict)

    def exchange_finished(
        self, route: str, method: str, status: int, seconds: float, request_bytes: int, response_bytes: int
    ) -> None:
        """Count an exchange, unless it was a probe."""
        if route in UNCOUNTED:
            return
        key = (route, method, f"{status // 100}xx")
        self._requests[key] = self._requests.get(key, 0) + 1
        self._request_sizes.setdefault(route, Summary()).observe(request_bytes)
        self._response_sizes.setdefault(route, Summary()).observe(response_bytes)
        self._fine.observe(seconds)
        histogram = self._durations.get((route, method))
        if histogram is None:
            histogram = self._durations[route, method] = Histogram(series.HTTP_BUCKETS)
        histogram.observe(seconds)

    def collect(self) -> Iterator[Metric]:
        """Make every family's samples."""
        created = self._created
        yield series.counter_family(
            "http_requests",
            "HTTP requests by route, method and status class.",
            [({"handler": h, "method": m, "status": s}, count) for (h, m, s), count in self._requests.items()],
            created,
        )
        for name, sizes in (("request", self._request_sizes), ("response", self._response_sizes)):
            samples = [({"handler": route}, summary) for route, summary in sizes.items()]
            text = f"Content-Length of HTTP {name}s by route; 0 where there is none."
            yield series.summary_family(f"http_{name}_size_bytes", text, samples, created)
        yield series.histogram_family(
            "http_request_duration_highr_seconds", "Seconds per HTTP exchange.", [({}, self._fine)], created
        )
        yield series.histogram_family(
            "http_request_duration_seconds",
            "Seconds per HTTP exchange by route and method.",
            [({"handler": h, "method": m}, histogram) for (h, m), histogram in self._durations.items()],
            created,
        )
