# -*- test-case-name: tests.metrics.test_http -*-
"""Metrics of the HTTP server: the ``http_*`` families that vLLM's server exports."""

from typing import Final

from attrs import define, field, frozen
from zope.interface import implementer

from vllmsim.interfaces import IHttpMetrics
from vllmsim.metrics import series
from vllmsim.metrics.exposition import Families, Family
from vllmsim.metrics.series import Counter, Histogram, Summary

UNCOUNTED: Final = frozenset(
    {"/metrics", "/metrics/", "/health", "/health/ready", "/ready", "/load", "/ping", "/version", "/server_info"}
)
"""Routes that are probed rather than used."""


@frozen(eq=False)
class _Exchanges:
    """What counts the exchanges of one route, method and status class."""

    requests: Counter
    request_sizes: Summary
    response_sizes: Summary
    durations: Histogram


@implementer(IHttpMetrics)
@define(eq=False)
class HttpMetrics:
    """Counts HTTP exchanges.

    :param created: when counting began, in seconds since the epoch; None to say nothing of that.
    """

    _created: float | None
    families: Families = field(init=False)
    _requests: Family = field(init=False)
    _request_sizes: Family = field(init=False)
    _response_sizes: Family = field(init=False)
    _fine: Histogram = field(init=False)
    _durations: Family = field(init=False)
    _exchanges: dict[tuple[str, str, int], _Exchanges] = field(init=False, factory=dict)
    _sizes: dict[str, tuple[Summary, Summary]] = field(init=False, factory=dict)
    _times: dict[tuple[str, str], Histogram] = field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        self.families = f = Families({}, self._created)
        sizes = "Content-Length of HTTP {}s by route; 0 where there is none."
        times = "Seconds per HTTP exchange."
        self._requests = f.family("http_requests", "HTTP requests by route, method and status class.", Counter)
        self._request_sizes = f.family("http_request_size_bytes", sizes.format("request"), Summary)
        self._response_sizes = f.family("http_response_size_bytes", sizes.format("response"), Summary)
        self._fine = f.show("http_request_duration_highr_seconds", times, Histogram(series.HTTP_FINE_BUCKETS))
        by_route = "Seconds per HTTP exchange by route and method."
        self._durations = f.family("http_request_duration_seconds", by_route, Histogram)

    def exchange_finished(
        self, route: str, method: str, status: int, seconds: float, request_bytes: int, response_bytes: int
    ) -> None:
        """Count an exchange, unless it was a probe."""
        if route in UNCOUNTED:
            return
        key = (route, method, status // 100)
        exchanges = self._exchanges.get(key)
        if exchanges is None:
            exchanges = self._exchanges[key] = self._begin(*key)
        exchanges.requests.value += 1
        exchanges.request_sizes.observe(request_bytes)
        exchanges.response_sizes.observe(response_bytes)
        exchanges.durations.observe(seconds)
        self._fine.observe(seconds)

    def _begin(self, route: str, method: str, hundreds: int) -> _Exchanges:
        """Expose exchanges of a new kind: sizes are by route, durations by route and method."""
        handler = {"handler": route}
        if route not in self._sizes:
            self._sizes[route] = (
                self._request_sizes.add(Summary(), handler),
                self._response_sizes.add(Summary(), handler),
            )
        labels = {**handler, "method": method}
        if (route, method) not in self._times:
            self._times[route, method] = self._durations.add(Histogram(series.HTTP_BUCKETS), labels)
        requests = self._requests.add(Counter(), {**labels, "status": f"{hundreds}xx"})
        return _Exchanges(requests, *self._sizes[route], self._times[route, method])
