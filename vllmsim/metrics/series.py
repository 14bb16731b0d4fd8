# -*- test-case-name: tests.metrics.test_series -*-
"""What counts: plain numbers that cost little to move while the rank works, and say at a scrape what they came to."""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import ClassVar, Final, Protocol, TypeAlias

from attrs import define, field
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
BLOCK_BUCKETS: Final = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800
)  # fmt: skip
TRANSFER_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 5.0)
TRANSFER_BYTES_BUCKETS: Final = tuple(2**power for power in range(11, 34, 2))
DESCRIPTOR_BUCKETS: Final = (10, 20, 30, 50, 75, 100, 200, 400, 1000, 2000, 4000, 10_000, 20_000, 50_000)
OPERATION_BUCKETS: Final = (0.01, 0.1, 1, 10, 30, 60, 120, 300, 600)
PREEMPTION_BUCKETS: Final = (1, 2, 3, 4, 5, 10, 20)
HTTP_FINE_BUCKETS: Final = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 7.5, 10.0, 30.0, 60.0,
)  # fmt: skip
HTTP_BUCKETS: Final = (0.1, 0.5, 1.0)

_PLAIN: Final = 1_000_000
"""Counts below it are written with all their digits."""


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


class Accumulator(Protocol):
    """What stands behind one series of a family.

    :cvar kind: the family's type.
    """

    kind: ClassVar[str]

    def samples(self) -> Sequence[tuple[str, Labels]]:
        """Name its samples: what each has behind the family's name, and which labels of its own."""

    def numbers(self) -> tuple[str, ...]:
        """Write the value of each, as Prometheus reads it."""


@define(eq=False)
class Gauge:
    """A value that goes up and down."""

    kind: ClassVar[str] = "gauge"

    value: float = 0

    def samples(self) -> Sequence[tuple[str, Labels]]:
        """Name the value."""
        return (("", {}),)

    def numbers(self) -> tuple[str, ...]:
        """Write the value."""
        return (floatToGoString(self.value),)


@define(eq=False)
class Computed(Gauge):
    """A value that is found when it is written.

    :param find: finds it.
    """

    find: Callable[[], float] = field(kw_only=True)

    def numbers(self) -> tuple[str, ...]:
        """Write the value."""
        return (floatToGoString(self.find()),)


@define(eq=False)
class Counter:
    """A value that goes up."""

    kind: ClassVar[str] = "counter"

    value: float = 0

    def samples(self) -> Sequence[tuple[str, Labels]]:
        """Name the total."""
        return (("_total", {}),)

    def numbers(self) -> tuple[str, ...]:
        """Write the total."""
        return (floatToGoString(self.value),)


@define(eq=False)
class Histogram:
    """Observations by bucket.

    :param bounds: the upper bounds, ascending; one more bucket takes what is above all.
    """

    kind: ClassVar[str] = "histogram"

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

    def samples(self) -> Sequence[tuple[str, Labels]]:
        """Name the buckets, the count and the sum."""
        bounds = [*map(floatToGoString, self.bounds), "+Inf"]
        return [*(("_bucket", {"le": bound}) for bound in bounds), ("_count", {}), ("_sum", {})]

    def numbers(self) -> tuple[str, ...]:
        """Write how many values are up to each bound, how many in all, and their sum."""
        sums = tuple(accumulate(self.counts))
        texts = [f"{n}.0" for n in sums] if sums[-1] < _PLAIN else [floatToGoString(n) for n in sums]
        return (*texts, texts[-1], floatToGoString(self.total))


@define(eq=False)
class Summary:
    """How many observations, and their sum."""

    kind: ClassVar[str] = "summary"

    count: int = 0
    total: float = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.count += 1
        self.total += value

    def samples(self) -> Sequence[tuple[str, Labels]]:
        """Name the count and the sum."""
        return (("_count", {}), ("_sum", {}))

    def numbers(self) -> tuple[str, ...]:
        """Write both."""
        return floatToGoString(self.count), floatToGoString(self.total)
