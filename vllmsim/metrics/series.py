# -*- test-case-name: tests.metrics.test_series -*-
"""Counters that cost little to move: plain numbers while the rank works, Prometheus samples at a scrape."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Final, TypeAlias

from attrs import define, field
from prometheus_client.metrics_core import Metric
from prometheus_client.utils import floatToGoString

Labels: TypeAlias = Mapping[str, str]

TTFT_BUCKETS: Final = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0,
    640.0, 2560.0,
)  # fmt: skip
ITL_BUCKETS: Final = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
LATENCY_BUCKETS: Final = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
)  # fmt: skip
ITERATION_BUCKETS: Final = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
COUNT_BUCKETS: Final = (1, 2, 5, 10, 20)
PREEMPTION_BUCKETS: Final = (1, 2, 3, 4, 5, 10, 20)
HTTP_FINE_BUCKETS: Final = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 7.5, 10.0, 30.0, 60.0,
)  # fmt: skip
HTTP_BUCKETS: Final = (0.1, 0.5, 1.0)


def token_buckets(most: int) -> tuple[int, ...]:
    """List 1, 2, 5, 10, 20, 50 and so on.

    :param most: the last bucket is not above it.
    """
    buckets: list[int] = []
    scale = 1
    while scale <= most:
        buckets += [scale * step for step in (1, 2, 5) if scale * step <= most]
        scale *= 10
    return tuple(buckets)


@define(eq=False)
class Histogram:
    """Observations by bucket.

    :param bounds: the upper bounds, ascending; one more bucket takes what is above all.
    """

    bounds: Sequence[float]
    counts: list[int] = field(init=False)
    total: float = field(init=False, default=0.0)

    @counts.default
    def _no_counts(self) -> list[int]:
        return [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count a value in the first bucket whose bound it does not exceed."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


@define(eq=False)
class Summary:
    """How many observations, and their sum."""

    count: int = 0
    total: float = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.count += 1
        self.total += value


def gauge_family(name: str, text: str, samples: Iterable[tuple[Labels, float]]) -> Metric:
    """Make a gauge's samples.

    :param samples: labels and value of each.
    """
    family = Metric(name, text, "gauge")
    for labels, value in samples:
        family.add_sample(name, dict(labels), value)
    return family


def counter_family(name: str, text: str, samples: Iterable[tuple[Labels, float]], created: float) -> Metric:
    """Make a counter's samples, and the gauges that tell since when it counts.

    :param name: without ``_total``.
    :param created: seconds since the epoch.
    """
    family = Metric(name, text, "counter")
    for labels, value in samples:
        family.add_sample(f"{name}_total", dict(labels), value)
        family.add_sample(f"{name}_created", dict(labels), created)
    return family


def histogram_family(name: str, text: str, samples: Iterable[tuple[Labels, Histogram]], created: float) -> Metric:
    """Make a histogram's samples."""
    family = Metric(name, text, "histogram")
    for labels, histogram in samples:
        bounds = [*map(floatToGoString, histogram.bounds), "+Inf"]
        sums = list(accumulate(histogram.counts))
        for bound, count in zip(bounds, sums, strict=True):
            family.add_sample(f"{name}_bucket", {**labels, "le": bound}, count)
        family.add_sample(f"{name}_count", dict(labels), sums[-1])
        family.add_sample(f"{name}_sum", dict(labels), histogram.total)
        family.add_sample(f"{name}_created", dict(labels), created)
    return family


def summary_family(name: str, text: str, samples: Iterable[tuple[Labels, Summary]], created: float) -> Metric:
    """Make a summary's samples."""
    family = Metric(name, text, "summary")
    for labels, summary in samples:
        family.add_sample(f"{name}_count", dict(labels), summary.count)
        family.add_sample(f"{name}_sum", dict(labels), summary.total)
        family.add_sample(f"{name}_created", dict(labels), created)
    return family
