"""Metrics of the HTTP server."""

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.metrics.reading import read
from vllmsim.interfaces import IHttpMetrics
from vllmsim.metrics.http import HttpMetrics


class HttpMetricsTests(SynchronousTestCase):
    """What is counted."""

    def test_exchanges(self) -> None:
        """Exchanges are counted by route, method and status class; probes are not."""
        metrics = HttpMetrics(1.0)
        verifyObject(IHttpMetrics, metrics)
        for status in (200, 204, 404):
            metrics.exchange_finished("/v1/models", "GET", status, 0.2, 0, 100)
        for probe in ("/health", "/health/ready", "/ready", "/metrics", "/metrics/"):
            metrics.exchange_finished(probe, "GET", 200, 0.2, 0, 2)

        def value(name: str, labels: dict[str, str]) -> float:
            return read(metrics.families)[name, frozenset(labels.items())]

        labels = {"handler": "/v1/models", "method": "GET"}
        self.assertEqual(2, value("http_requests_total", {**labels, "status": "2xx"}))
        self.assertEqual(1, value("http_requests_total", {**labels, "status": "4xx"}))
        self.assertEqual(3, value("http_request_duration_highr_seconds_count", {}))
        self.assertEqual(300, value("http_response_size_bytes_sum", {"handler": "/v1/models"}))
        self.assertEqual(3, value("http_request_size_bytes_count", {"handler": "/v1/models"}))
        self.assertEqual(3, value("http_request_duration_highr_seconds_bucket", {"le": "0.25"}))
        self.assertEqual(0, value("http_request_duration_seconds_bucket", {**labels, "le": "0.1"}))
