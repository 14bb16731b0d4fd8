# -*- test-case-name: tests.metrics.test_sleeping -*-
"""How long it takes to fall asleep and to wake up.

vLLM shows this from the first such operation on, without any label of the engine.
"""

from collections.abc import Callable
from typing import Final

from attrs import define, field

from vllmsim.metrics import series
from vllmsim.metrics.exposition import Families, Family
from vllmsim.metrics.series import Gauge, Histogram

_OPERATIONS: Final = ("sleep", "release_kv_cache_memory", "wake")


@define(eq=False)
class SleepMetrics:
    """Measures operations.

    :param families: where its families go.
    :param now: tells the time, in seconds.
    """

    _families: Families
    _now: Callable[[], float]
    _durations: Family = field(init=False)
    _under_way: Family = field(init=False)
    _by_operation: dict[str, Histogram] = field(init=False, factory=dict)
    _counts: dict[str, Gauge] = field(init=False)

    def __attrs_post_init__(self) -> None:
        f = self._families
        text = "Seconds to fall asleep, and to wake up."
        self._durations = f.family("vllm:sleep_mode_operation_duration_seconds", text, Histogram)
        self._under_way = f.family("vllm:sleep_mode_operations_in_flight", "Those that are under way.", Gauge)
        self._counts = {each: self._under_way.add(Gauge(), {"operation": each}) for each in _OPERATIONS}
        self._durations.shown = self._under_way.shown = False

    def began(self, operation: str) -> Callable[[], None]:
        """Begin to measure an operation.

        :return: is to be called when it is over.
        """
        began, count = self._now(), self._counts[operation]
        count.value += 1
        self._durations.shown = self._under_way.shown = True

        def ended() -> None:
            count.value -= 1
            if operation not in self._by_operation:
                histogram = Histogram(series.OPERATION_BUCKETS)
                self._by_operation[operation] = self._durations.add(histogram, {"operation": operation})
            self._by_operation[operation].observe(self._now() - began)

        return ended
