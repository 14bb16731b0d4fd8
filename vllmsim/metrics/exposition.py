# -*- test-case-name: tests.metrics.test_exposition -*-
"""How metrics are written: the Prometheus text format 0.0.4, all of it but the numbers rendered beforehand.

A page is a list of families. A family has a text and a type, then a line for each sample: its name, its labels, its
value. Counters, histograms and summaries also tell since when they count, in a gauge of its own behind the rest::

    # HELP vllm:request_success_total Sequences that came to their end, by the reason for it.
    # TYPE vllm:request_success_total counter
    vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 3.0
    # HELP vllm:request_success_created Sequences that came to their end, by the reason for it.
    # TYPE vllm:request_success_created gauge
    vllm:request_success_created{engine="0",finished_reason="stop",model_name="m"} 1.795339833e+09

Whoever scrapes waits for no token, and no token may wait for a scrape: a rank's whole page takes about 0.1 ms.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import compress
from typing import Protocol, TypeVar

from attrs import define, evolve, field, frozen
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.utils import floatToGoString

from vllmsim.metrics.series import Accumulator, Counter, Gauge, Labels

A = TypeVar("A", bound=Accumulator)


def _prefix(name: str, labels: Labels) -> str:
    """Write what is before a sample's value."""
    pairs = ",".join(f'{label}="{_escape(value)}"' for label, value in sorted(labels.items()))
    return f"{name}{{{pairs}}} " if pairs else f"{name} "


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _head(name: str, kind: str, text: str) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def _chosen(lines: str, names: Collection[str]) -> str:
    """Leave the lines whose sample has one of some names."""
    return "".join(f"{line}\n" for line in lines.split("\n")[:-1] if line.partition(" ")[0].partition("{")[0] in names)


@frozen(eq=False)
class Series:
    """One of the series of a family.

    :param created: when counting began, in seconds since the epoch; None to say nothing of that.
    """

    labels: Labels
    accumulator: Accumulator
    created: float | None


@define(eq=False)
class Family:
    """The series of one name.

    :param name: without the ``_total`` of a counter.
    :param text: what it is, for people.
    :param kind: its type.
    :param created: when counting began, in seconds since the epoch; None to say nothing of that.
    """

    name: str
    text: str
    kind: str
    created: float | None = None
    shown: bool = field(init=False, default=True)
    """Whether it is written at all."""
    series: list[Series] = field(init=False, factory=list)
    _templates: list[tuple[str, Accumulator]] = field(init=False, factory=list)
    _head: str = field(init=False)
    _since_head: str = field(init=False)
    _since: str = field(init=False, default="")

    @_head.default
    def _make_head(self) -> str:
        return _head(f"{self.name}_total" if self.kind == Counter.kind else self.name, self.kind, self.text)

    @_since_head.default
    def _make_since_head(self) -> str:
        return _head(f"{self.name}_created", Gauge.kind, self.text)

    def add(self, accumulator: A, labels: Labels) -> A:
        """Expose an accumulator under labels that no other series of the family has.

        :return: the accumulator.
        """
        series = Series(labels, accumulator, self.created if self.kind != Gauge.kind else None)
        self.series.append(series)
        prefixes = [_prefix(self.name + suffix, {**labels, **more}) for suffix, more in accumulator.samples()]
        self._templates.append(("".join(prefix.replace("%", "%%") + "%s\n" for prefix in prefixes), accumulator))
        self._since += self._tell_since(series)
        return accumulator

    def restart(self, accumulator: Accumulator, created: float) -> None:
        """Say that one of the series counts anew.

        :param created: since when, in seconds since the epoch. Where families say nothing of that, nothing is said.
        """
        if self.created is not None and self.kind != Gauge.kind:
            self.series = [
                evolve(each, created=created) if each.accumulator is accumulator else each for each in self.series
            ]
            self._since = "".join(map(self._tell_since, self.series))

    def leave(self, wanted: Callable[[Labels], bool]) -> None:
        """Expose no more the series that have other labels than those that are wanted."""
        kept = [wanted(each.labels) for each in self.series]
        self.series = list(compress(self.series, kept))
        self._templates = list(compress(self._templates, kept))
        self._since = "".join(map(self._tell_since, self.series))

    def _tell_since(self, series: Series) -> str:
        if series.created is None:
            return ""
        return f"{_prefix(f'{self.name}_created', series.labels)}{floatToGoString(series.created)}\n"

    def write(self, names: Collection[str] = ()) -> str:
        """Write every sample, or those that have one of some names."""
        if not self.shown:
            return ""
        body = "".join([template % accumulator.numbers() for template, accumulator in self._templates])
        since = self._since
        if names:
            body, since = _chosen(body, names), _chosen(since, names)
            if not body and not since:
                return ""
        return f"{self._head}{body}{self._since_head}{since}" if since else f"{self._head}{body}"


@define(eq=False)
class Families:
    """Families in the order in which they are written.

    :param labels: of every series that is not given its own.
    :param created: when counting began, in seconds since the epoch; None to say nothing of that.
    """

    _labels: Labels
    _created: float | None = None
    _families: list[Family] = field(init=False, factory=list)

    def __iter__(self) -> Iterator[Family]:
        """Go through them."""
        return iter(self._families)

    def family(self, name: str, text: str, kind: type[Accumulator]) -> Family:
        """Begin a family whose series are added to it, with labels of their own.

        :param name: without the ``_total`` of a counter.
        """
        self._families.append(Family(name, text, kind.kind, self._created))
        return self._families[-1]

    def behind(self, name: str, other: Family) -> None:
        """Move a family to the place behind that of some name.

        :param other: one of these.
        """
        self._families.remove(other)
        place = next(number for number, family in enumerate(self._families) if family.name == name)
        self._families.insert(place + 1, other)

    def show(self, name: str, text: str, accumulator: A) -> A:
        """Make a family of one series.

        :return: the accumulator.
        """
        return self.family(name, text, type(accumulator)).add(accumulator, self._labels)

    def show_by(self, label: str, name: str, text: str, accumulators: Mapping[str, A]) -> Mapping[str, A]:
        """Make a family of series that differ in one label.

        :param accumulators: by the label's value.
        :return: the accumulators.
        """
        family = self.family(name, text, type(next(iter(accumulators.values()))))
        for value, accumulator in accumulators.items():
            family.add(accumulator, {**self._labels, label: value})
        return accumulators

    def write(self, names: Collection[str] = ()) -> str:
        """Write every sample, or those that have one of some names."""
        return "".join([family.write(names) for family in self._families])


class Source(Protocol):
    """A part of a page."""

    def write(self, names: Collection[str]) -> str:
        """Write every sample, or those that have one of some names."""


@frozen(eq=False)
class Succession:
    """Several parts, one after the other."""

    _sources: Sequence[Source]

    def write(self, names: Collection[str] = ()) -> str:
        """Write every sample, or those that have one of some names."""
        return "".join([source.write(names) for source in self._sources])


@frozen(eq=False)
class Page:
    """What one rank exposes.

    :param registry: what prometheus_client tells, before the sources.
    """

    registry: CollectorRegistry
    sources: Sequence[Source]

    def write(self, names: Collection[str] = ()) -> bytes:
        """Write every sample, or those that have one of some names."""
        registry = self.registry.restricted_registry(names) if names else self.registry
        return generate_latest(registry) + "".join([source.write(names) for source in self.sources]).encode()
