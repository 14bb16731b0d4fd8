"""The fake-metrics option."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.config.fakemetrics import (
    BUCKET_LIMITS,
    FakeAdapters,
    InvalidMembers,
    merge_fake_metrics,
    parse_fake_metrics,
    write_fake_metrics,
)
from vllmsim.config.metricfunctions import MetricFunction

WHOLE: dict[str, Any] = {
    "running-requests": 16,
    "waiting-requests": "oscillate:0:5:1s",
    "kv-cache-usage": "ramp:0:1:100ms",
    "loras": [{"running": "a,b", "waiting": "c", "timestamp": 1.5}, '{"running": "d"}'],
    "ttft-buckets-values": [1, 2, 3],
    "request-prompt-tokens": [],
    "request-success-total": {"stop": 20},
    "total-prompt-tokens": 7,
    "prefix-cache-hits": 1,
    "prefix-cache-queries": 2,
}

FAULTS: list[tuple[dict[str, Any], str]] = [
    (
        {"running-requests": -10},
        "running-requests: must be at least 0, or a function (fake metrics request counters cannot be",
    ),
    ({"running-requests": True}, "running-requests: must be at least 0"),
    (
        {"running-requests": "foo:0:8:10s"},
        "'foo' is no function (invalid fake metrics generation function foo, must be one of",
    ),
    (
        {"waiting-requests": "squarewave:0:8:170"},
        "the period '170' has no unit (time: missing unit in duration \"170\")",
    ),
    (
        {"waiting-requests": "ramp:0:8:0s"},
        "must be above 0 (invalid fake metrics generation parameter: period must be positive)",
    ),
    ({"waiting-requests": "rampreset:0:8"}, "need func:start:end:period in fake metric generation function"),
    (
        {"waiting-requests": "ramp:0:-8:10s"},
        "invalid fake metrics generation parameter: start and end must not be negative",
    ),
    ({"waiting-requests": "ramp:-1:8:10s"}, "must not be negative"),
    ({"waiting-requests": "ramp:inf:8:10s"}, "no finite number"),
    ({"waiting-requests": "ramp:0:8:-10s"}, "a part of 'ramp:0:8:-10s' is negative"),
    ({"waiting-requests": "ramp:0:x:10s"}, "a part of 'ramp:0:x:10s' is wrong"),
    ({"kv-cache-usage": 40}, "from 0 to 1, or a function (fake metrics KV cache usage must be between 0 and 1)"),
    ({"kv-cache-usage": "ramp:0:5:10s"}, "fake metrics KV cache usage start and end must be between 0 and 1"),
    ({"ttft-buckets-values": [1, -1]}, "time-to-first-token fake metrics should contain only non-negative values"),
    ({"ttft-buckets-values": [1] * 24}, "has 24 entries for 23 buckets (fake time-to-first-token array is too long)"),
    ({"tpot-buckets-values": 3}, "must be a list"),
    ({"tpot-buckets-values": [-1]}, "time-per-output-token fake metrics should contain only non-negative values"),
    ({"tpot-buckets-values": [1] * 21}, "fake time-per-output-token array is too long"),
    ({"e2erl-buckets-values": [-1]}, "fake metrics e2erl-buckets-values cannot contain negative values"),
    ({"prefix-cache-hits": -1, "prefix-cache-queries": 1}, "fake metrics prefix-cache-hits cannot be negative"),
    ({"running-requests": "x" * 1000}, f"running-requests: '{'x' * 200}' is not written"),
    ({"loras": {}}, "must be a list"),
    ({"loras": [1]}, "must be a map"),
    ({"loras": [{"bunning": "a"}]}, "must be a map"),
    ({"loras": [{"timestamp": "x"}]}, "number timestamp"),
    ({"loras": [{"timestamp": float("nan")}]}, "number timestamp"),
    ({"loras": [{"timestamp": float("inf")}]}, "number timestamp"),
    ({"loras": [{"running": ["a"]}]}, "which are texts"),
    ({"loras": [{"waiting": 5}]}, "which are texts"),
    ({"request-success-total": {"never": 1}}, "invalid finish reason in request-success-total: never"),
    ({"request-success-total": {"stop": -1}}, "fake metrics request-success-total.stop cannot be negative, got -1"),
    ({"request-success-total": []}, "must be a map"),
    ({"prefix-cache-hits": 1}, "prefix-cache-hits and prefix-cache-queries must be specified together"),
    ({"prefix-cache-queries": 1}, "goes together"),
    (
        {"prefix-cache-hits": 2, "prefix-cache-queries": 1},
        "fake metrics prefix-cache-hits cannot exceed prefix-cache-queries",
    ),
    ({"total-prompt-tokens": -1}, "total-prompt-tokens: must be"),
    ({"running-requests": 10**400}, "running-requests: is too large"),
    ({"loras": [{"timestamp": 10**400}]}, "loras: is too large"),
    ({"bogus": 1}, "bogus: is no member"),
    ({"running-requests": float("inf")}, "running-requests: must be at least 0"),
    ({"running-requests": float("nan")}, "running-requests: must be at least 0"),
    ({"request-prompt-tokens": [0] * 65}, "has 65 entries for at most 64"),
    ({"request-prompt-tokens": [2**63]}, "below 2**63"),
    ({"loras": [{}] * 1001}, "at most 1000"),
]


class FakeMetricsTests(SynchronousTestCase):
    """Reading, checking and writing."""

    def test_whole(self) -> None:
        """Every member is read; finish reasons that are not named count 0."""
        metrics = parse_fake_metrics(WHOLE)
        self.assertEqual(16.0, metrics.running_requests)
        self.assertEqual(MetricFunction("oscillate", 0, 5, 1.0), metrics.waiting_requests)
        self.assertEqual((FakeAdapters("a,b", "c", 1.5), FakeAdapters("d")), metrics.loras)
        self.assertEqual({"ttft-buckets-values": (1, 2, 3), "request-prompt-tokens": ()}, metrics.buckets)
        self.assertEqual(
            {"stop": 20, "length": 0, "tool_calls": 0, "remote_decode": 0, "cache_threshold": 0},
            metrics.request_success_total,
        )

    def test_round_trip(self) -> None:
        """What is written is read back."""
        for value in (WHOLE, {}):
            metrics = parse_fake_metrics(value)
            self.assertEqual(metrics, parse_fake_metrics(write_fake_metrics(metrics)))

    def test_surrogates(self) -> None:
        """What no text can have becomes a question mark."""
        metrics = parse_fake_metrics({"loras": ['{"running": "a\\ud800b"}', {"waiting": "\udfff"}]})
        self.assertEqual((FakeAdapters("a?b"), FakeAdapters("", "?")), metrics.loras)

    def test_all_buckets(self) -> None:
        """A list may have a number for every bucket."""
        lists = {name: [1] * (most or 64) for name, most in BUCKET_LIMITS.items()}
        self.assertEqual({name: tuple(each) for name, each in lists.items()}, parse_fake_metrics(lists).buckets)

    def test_old_names(self) -> None:
        """The two names that YAML had for totals are understood."""
        self.assertEqual({"total-prompt-tokens": 3}, parse_fake_metrics({"totalprompttokens": 3}).counts)

    def test_faults(self) -> None:
        """Each fault is named with its member."""
        for value, fault in FAULTS:
            error = self.assertRaises(InvalidMembers, parse_fake_metrics, value)
            self.assertIn(fault, str(error))
        error = self.assertRaises(InvalidMembers, parse_fake_metrics, {"bogus": 1, "running-requests": -1})
        self.assertEqual(2, len(error.faults))
        self.assertRaises(ValueError, parse_fake_metrics, [])

    def test_reasons(self) -> None:
        """Reasons of vLLM's are there when they are named."""
        metrics = parse_fake_metrics({"request-success-total": {"abort": 2}})
        self.assertEqual(2, (metrics.request_success_total or {})["abort"])

    def test_merged(self) -> None:
        """An update changes the members that it has, and leaves the others; so does null."""
        before = parse_fake_metrics(WHOLE)
        after = merge_fake_metrics(before, {"running-requests": "ramp:0:1:1s", "prefix-cache-hits": 0, "loras": None})
        self.assertEqual(MetricFunction("ramp", 0, 1, 1.0), after.running_requests)
        self.assertEqual({"total-prompt-tokens": 7, "prefix-cache-hits": 0, "prefix-cache-queries": 2}, after.counts)
        unchanged = ("waiting_requests", "kv_cache_usage", "loras", "buckets", "request_success_total")
        for name in unchanged:
            self.assertEqual(getattr(before, name), getattr(after, name))
        self.assertEqual(before, merge_fake_metrics(before, {}))

    def test_merged_totals(self) -> None:
        """With a new histogram goes the total that it had, unless that comes too, whatever its name."""
        before = parse_fake_metrics(
            {"request-prompt-tokens": [1], "total-prompt-tokens": 9, "total-generation-tokens": 4}
        )
        after = merge_fake_metrics(before, {"request-prompt-tokens": [2]})
        self.assertEqual({"total-generation-tokens": 4}, after.counts)
        after = merge_fake_metrics(before, {"request-prompt-tokens": [2], "totalprompttokens": 5})
        self.assertEqual({"total-prompt-tokens": 5, "total-generation-tokens": 4}, after.counts)

    def test_merged_faults(self) -> None:
        """What an update would lead to is checked as a whole."""
        before = parse_fake_metrics(WHOLE)
        error = self.assertRaises(InvalidMembers, merge_fake_metrics, before, {"prefix-cache-hits": 3})
        self.assertIn("cannot be more", str(error))
        self.assertRaises(ValueError, merge_fake_metrics, before, [])
