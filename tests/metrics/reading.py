"""Metrics as others read and write them: prometheus_client's parser, and its own way to the text."""

from collections.abc import Collection, Iterable, Iterator
from itertools import accumulate
from typing import TypeAlias

from attrs import define
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from vllmsim.metrics.exposition import Families, Family
from vllmsim.metrics.series import Accumulator, Computed, Counter, Gauge, Histogram, Summary

Sample: TypeAlias = tuple[str, frozenset[tuple[str, str]]]


def read(families: Families) -> dict[Sample, float]:
    """Have Prometheus's parser read what is written: values by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(families.write())
        for sample in family.samples
    }


def rewrite(families: Families, names: Collection[str] = ()) -> str:
    """Have prometheus_client write the same families, or the samples that have one of some names."""
    registry = CollectorRegistry(auto_describe=True)
    registry.register(_Samples(families))
    return generate_latest(registry.restricted_registry(names) if names else registry).decode()


@define(eq=False)
class _Samples(Collector):
    """Families as prometheus_client knows them."""

    _families: Families

    def collect(self) -> Iterator[Metric]:
        """Make every sample anew."""
        return map(_metric, (family for family in self._families if family.shown))


def _metric(family: Family) -> Metric:
    metric = Metric(family.name, family.text, family.kind)
    for series in family.series:
        for suffix, more, value in _values(series.accumulator):
            metric.add_sample(family.name + suffix, {**series.labels, **more}, value)
        if series.created is not None:
            metric.add_sample(f"{family.name}_created", dict(series.labels), series.created)
    return metric


def _values(accumulator: Accumulator) -> Iterable[tuple[str, dict[str, str], float]]:
    match accumulator:
        case Computed(find=find):
            yield "", {}, find()
        case Gauge(value=value):
            yield "", {}, value
        case Counter(value=value):
            yield "_total", {}, value
        case Summary(count=count, total=total):
            yield "_count", {}, count
            yield "_sum", {}, total
        case Histogram(bounds=bounds, counts=counts, total=total):
            for bound, count in zip([*bounds, float("inf")], accumulate(counts), strict=True):
                yield "_bucket", {"le": floatToGoString(bound)}, count
            yield "_count", {}, sum(counts)
            yield "_sum", {}, total
