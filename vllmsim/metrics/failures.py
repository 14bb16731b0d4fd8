# -*- test-case-name: tests.metrics.test_failures -*-
"""How many requests were made to fail, in numbers of our own. There are none where nothing may fail, as in a vLLM."""

from collections.abc import Collection, Iterable
from typing import Final

from zope.interface import implementer

from vllmsim.interfaces import IFailureMetrics
from vllmsim.metrics.exposition import Families
from vllmsim.metrics.series import Counter, Labels

_TEXT: Final = "Requests that were made to fail, by the rule that did it, if one did, and by how they failed."


@implementer(IFailureMetrics)
class FailureMetrics:
    """Counts failures.

    :param labels: of every series.
    :param created: when counting began, in seconds since the epoch; None to say nothing of that.
    """

    def __init__(self, labels: Labels, created: float | None) -> None:
        self._labels, self._created = labels, created
        self._counters: dict[tuple[str, str], Counter] = {}

    def failures_expected(self, failures: Iterable[tuple[str, str]]) -> None:
        """Show these, and no more those of rules that are gone."""
        counters = self._counters
        self._counters = {key: counter for key, counter in counters.items() if not key[0]}
        self._counters |= {key: counters.get(key) or Counter() for key in failures}

    def request_failed(self, rule: str, kind: str) -> None:
        """Count a failure."""
        self._counters.setdefault((rule, kind), Counter()).value += 1

    def write(self, names: Collection[str] = ()) -> str:
        """Write every sample, or those that have one of some names."""
        if not self._counters:
            return ""
        families = Families(self._labels, self._created)
        family = families.family("vllmsim:injected_failures", _TEXT, Counter)
        for (rule, kind), counter in self._counters.items():
            family.add(counter, {**self._labels, "rule": rule, "type": kind})
        return families.write(names)
