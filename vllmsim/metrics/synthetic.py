# -*- test-case-name: tests.metrics.test_synthetic -*-
"""Fake metrics: a page that shows what the option ``fake-metrics`` says, and nothing of what really happens.

The families are those of a real page, of a server that has done nothing; a few of their values are set. Functions of
time are computed when someone looks, for the time of the last refresh before that: so nothing ticks.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, TypeVar

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from vllmsim.config.fakemetrics import TOTALS, FakeAdapters, FakeMetrics, Level
from vllmsim.config.metricfunctions import MetricFunction
from vllmsim.metrics.exposition import Families, Family
from vllmsim.metrics.series import Accumulator, Counter, Gauge, Histogram, Labels

_RUNNING: Final = ("vllm:num_requests_running",)
_WAITING: Final = ("vllm:num_requests_waiting", "vllm:num_requests_waiting_by_reason")
_USAGE: Final = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
_HISTOGRAMS: Final[Mapping[str, Sequence[str]]] = {
    "ttft-buckets-values": ("vllm:time_to_first_token_seconds",),
    "tpot-buckets-values": ("vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds"),
    "e2erl-buckets-values": ("vllm:e2e_request_latency_seconds",),
    "queue-time-buckets-values": ("vllm:request_queue_time_seconds",),
    "inf-time-buckets-values": ("vllm:request_inference_time_seconds",),
    "prefill-time-buckets-values": ("vllm:request_prefill_time_seconds",),
    "decode-time-buckets-values": ("vllm:request_decode_time_seconds",),
    "request-tpot-buckets-values": ("vllm:request_time_per_output_token_seconds",),
    "request-prompt-tokens": ("vllm:request_prompt_tokens",),
    "request-generation-tokens": ("vllm:request_generation_tokens",),
    "request-params-max-tokens": ("vllm:request_params_max_tokens",),
    "request-max-generation-tokens": ("vllm:request_max_num_generation_tokens",),
}
_COUNTERS: Final[Mapping[str, str]] = {
    "total-prompt-tokens": "vllm:prompt_tokens",
    "total-generation-tokens": "vllm:generation_tokens",
    "prefix-cache-hits": "vllm:prefix_cache_hits",
    "prefix-cache-queries": "vllm:prefix_cache_queries",
}
_ENDINGS: Final = "vllm:request_success"
_BEFORE_ADAPTERS: Final = "vllm:cache_config_info"
_ADAPTERS: Final = "vllm:lora_requests_info"
_ADAPTERS_TEXT: Final = "Which LoRA adapters run, and which have requests that wait; the latest series holds."
_WHOLE: Final = 1e-9
"""How little a number may be below a whole one to be that."""

A = TypeVar("A", bound=Accumulator)


@define(eq=False)
class _Wave:
    """A gauge that follows a function.

    :param began: the clock's time when it was set.
    :param whole: whether it has whole numbers alone.
    """

    function: MetricFunction
    gauge: Gauge
    began: float
    whole: bool


@define(eq=False)
class SyntheticMetrics:
    """Shows fake values in the families of a page.

    :param families: those of a server that has done nothing.
    :param clock: says how far functions are.
    :param epoch: tells seconds since the epoch.
    :param interval: seconds between the times for which functions are computed; it may be set.
    """

    _families: Families
    _clock: IReactorTime
    _epoch: Callable[[], float]
    interval: float
    _by_name: dict[str, Family] = field(init=False)
    _waves: dict[str, _Wave] = field(init=False, factory=dict)
    _labels: Labels = field(init=False)
    _reasons: tuple[str, ...] = field(init=False)
    _fake_adapters: Family = field(init=False)
    _real_adapters: Family | None = field(init=False, default=None)
    """What tells that none is used, where adapters are of interest."""
    _adapters: tuple[tuple[FakeAdapters, ...] | None, int] = field(init=False, default=(None, 0))

    def __attrs_post_init__(self) -> None:
        self._by_name = {family.name: family for family in self._families}
        endings = self._by_name[_ENDINGS].series
        self._reasons = tuple(each.labels["finished_reason"] for each in endings)
        self._labels = {name: value for name, value in endings[0].labels.items() if name != "finished_reason"}
        real = self._by_name.get(_ADAPTERS)
        self._fake_adapters = self._families.family(_ADAPTERS, _ADAPTERS_TEXT if real is None else real.text, Gauge)
        self._fake_adapters.shown = False
        self._families.behind(_BEFORE_ADAPTERS if real is None else _ADAPTERS, self._fake_adapters)
        if real is not None and real.shown:
            self._real_adapters = real

    def write(self, names: Collection[str] = ()) -> str:
        """Write every sample, or those that have one of some names."""
        now = self._clock.seconds()
        for wave in self._waves.values():
            refreshes = math.floor((now - wave.began) / self.interval + _WHOLE)
            _set(wave.gauge, wave.function.at(refreshes * self.interval), whole=wave.whole)
        return self._families.write(names)

    def show(self, fake: FakeMetrics, max_loras: int = 1) -> None:
        """Show these values from now on, and no other. What stays as it was goes on: functions, and counters.

        :param max_loras: how many adapters could run at the same time.
        """
        self._level(_RUNNING, fake.running_requests, whole=True)
        self._level(_WAITING, fake.waiting_requests, whole=True)
        self._level(_USAGE, fake.kv_cache_usage, whole=False)
        for member, names in _HISTOGRAMS.items():
            self._histogram(names, fake.buckets.get(member))
        for member, name in _COUNTERS.items():
            self._total(name, fake, member)
        self._endings(fake.request_success_total)
        if (fake.loras, max_loras) != self._adapters:
            self._adapters = fake.loras, max_loras
            self._show_adapters(fake.loras, str(max_loras))

    def _level(self, names: Sequence[str], level: Level | None, *, whole: bool) -> None:
        for name in names:
            gauge, wave = _first(self._by_name[name], Gauge), self._waves.get(name)
            if not isinstance(level, MetricFunction):
                self._waves.pop(name, None)
                _set(gauge, level or 0, whole=whole)
            elif wave is None or wave.function != level:
                self._waves[name] = _Wave(level, gauge, self._clock.seconds(), whole)

    def _histogram(self, names: Sequence[str], entries: Sequence[int] | None) -> None:
        for name in names:
            self._by_name[name].shown = entries is None or len(entries) > 0
        histogram = _first(self._by_name[names[0]], Histogram)
        before = histogram.numbers()
        buckets = len(histogram.bounds) + 1
        given = [*(entries or ()), *[0] * buckets]
        # Whatever is beyond the last bucket is above all bounds.
        histogram.counts = [*given[: buckets - 1], sum(given[buckets - 1 :])]
        histogram.total = float(sum(count * at for count, at in zip(histogram.counts, _places(histogram), strict=True)))
        if _fell(before, histogram.numbers()):
            for name in names:
                self._by_name[name].restart(histogram, self._epoch())

    def _total(self, name: str, fake: FakeMetrics, member: str) -> None:
        family, total = self._by_name[name], fake.counts.get(member)
        entries = fake.buckets.get(TOTALS.get(member, ""))
        family.shown = total is not None or entries is None or len(entries) > 0
        if total is None and entries:
            histogram = _first(self._by_name[_HISTOGRAMS[TOTALS[member]][0]], Histogram)
            total = sum(count * int(at) for count, at in zip(histogram.counts, _places(histogram), strict=True))
        self._count(family, _first(family, Counter), total or 0)

    def _endings(self, totals: Mapping[str, int] | None) -> None:
        family, values = self._by_name[_ENDINGS], dict.fromkeys(self._reasons, 0) | dict(totals or {})
        family.leave(lambda labels: labels["finished_reason"] in values)
        there = {each.labels["finished_reason"]: each.accumulator for each in family.series}
        for reason, value in values.items():
            counter = there.get(reason)
            if counter is None:
                counter = family.add(Counter(), {**self._labels, "finished_reason": reason})
                family.restart(counter, self._epoch())
            assert isinstance(counter, Counter)
            self._count(family, counter, value)

    def _show_adapters(self, adapters: tuple[FakeAdapters, ...] | None, max_loras: str) -> None:
        family = self._fake_adapters
        family.shown = adapters is not None
        if self._real_adapters is not None:
            self._real_adapters.shown = adapters is None
        family.leave(lambda _: False)
        # A page has each series once: of two entries for one the last counts.
        shown = {(each.running, each.waiting): each.timestamp for each in adapters or ()}
        for (running, waiting), timestamp in (shown or {("", ""): self._epoch()}).items():
            labels = {"running_lora_adapters": running, "waiting_lora_adapters": waiting}
            family.add(Gauge(timestamp), {"max_lora": max_loras, **labels})

    def _count(self, family: Family, counter: Counter, value: float) -> None:
        if value < counter.value:
            family.restart(counter, self._epoch())
        counter.value = value


def _first(family: Family, kind: type[A]) -> A:
    """Find what stands behind the first series of a family."""
    accumulator = family.series[0].accumulator
    assert isinstance(accumulator, kind)
    return accumulator


def _set(gauge: Gauge, value: float, *, whole: bool) -> None:
    gauge.value = math.floor(value + _WHOLE) if whole else value


def _places(histogram: Histogram) -> Sequence[float]:
    """Tell where the observations of each bucket are: on its bound, and above all of them on the last and 1."""
    return [*histogram.bounds, histogram.bounds[-1] + 1]


def _fell(before: Sequence[str], after: Sequence[str]) -> bool:
    return any(float(new) < float(old) for old, new in zip(before, after, strict=True))
