"""Tests for :mod:`vllmsim.api.loadreport`."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.loadreport import load_report

PAGE = b"""\
# HELP vllm:num_requests_waiting Sequences that wait.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
vllm:num_requests_waiting{engine="1",model_name="m"} 3.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.5
"""


class LoadReportTests(SynchronousTestCase):
    """What the header says."""

    def test_forms(self) -> None:
        """A report is text or JSON, in any case; of several ranks all wait, and the fullest counts."""
        text = "TEXT named_metrics.num_requests_waiting=5.0, named_metrics.kv_cache_usage_perc=0.5"
        self.assertEqual(text, load_report("text", PAGE))
        report = 'JSON {"named_metrics": {"num_requests_waiting": 5.0, "kv_cache_usage_perc": 0.5}}'
        self.assertEqual(report, load_report("JSON", PAGE))

    def test_missing(self) -> None:
        """What is not measured is not reported."""
        self.assertEqual('JSON {"named_metrics": {}}', load_report("json", b""))

    def test_unknown(self) -> None:
        """There is no report in any other form."""
        self.assertIsNone(load_report("bin", PAGE))
