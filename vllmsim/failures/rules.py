# -*- test-case-name: tests.failures.test_rules -*-
"""One rule at work: it knows which requests it means, counts them, and decides which of them fail."""

import fnmatch
import math
import random
import re
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from attrs import define, field

from vllmsim.config.failurerule import FailureRule
from vllmsim.errors import InjectedFailure
from vllmsim.failures.errors import TYPES, kind_of
from vllmsim.faults import Facts, Fault, Tally
from vllmsim.randomness import derive

_LONGEST_VALUE: Final = 1024
"""How many characters of what a client says are compared with a pattern."""

Matcher: TypeAlias = re.Pattern[str] | None
"""What values must fit; None for nothing."""


def _matcher(patterns: Sequence[str]) -> Matcher:
    """Make one pattern of those of which any will do."""
    return re.compile("|".join(map(fnmatch.translate, patterns))) if patterns else None


def _fits(matcher: Matcher, *values: str | None) -> bool:
    """Tell whether one of some values fits; where there is no pattern, anything does."""
    return matcher is None or any(value is not None and matcher.match(value[:_LONGEST_VALUE]) for value in values)


@define(eq=False)
class CountedRule:
    """A rule and its counters.

    :param model: the model's name in the configuration, which some errors tell.
    :param seed: what chance depends on, with the rule's name.
    """

    rule: FailureRule
    _model: str
    _seed: int
    _models: Matcher = field(init=False)
    _adapters: Matcher = field(init=False)
    _routes: Matcher = field(init=False)
    _api_keys: Matcher = field(init=False)
    _tenants: Matcher = field(init=False)
    _headers: Mapping[str, Matcher] = field(init=False)
    _generator: random.Random = field(init=False)
    _matched: int = field(init=False, default=0)
    _failed: int = field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        rule = self.rule
        self._models, self._adapters = _matcher(rule.model), _matcher(rule.adapter)
        self._routes, self._api_keys = _matcher(rule.route), _matcher(rule.api_key)
        self._tenants = _matcher(rule.tenant)
        self._headers = {name: _matcher([pattern]) for name, pattern in rule.header}
        self.reseed(self._seed)

    def reseed(self, seed: int) -> None:
        """Begin anew, as if no request had come yet."""
        self._generator = derive(seed, "failure rule", self.rule.name)
        self.reset()

    def reset(self) -> None:
        """Set the counters to 0."""
        self._matched = self._failed = 0

    @property
    def tally(self) -> Tally:
        """The counters."""
        return Tally(self.rule.name, self._matched, self._failed)

    def consider(self, facts: Facts) -> Fault | None:
        """Count a request that the rule means, and decide whether it fails."""
        if not self._means(facts):
            return None
        self._matched += 1
        if not self._fires():
            return None
        self._failed += 1
        return self._fault()

    def _means(self, facts: Facts) -> bool:
        rule = self.rule
        return (
            (rule.stream is None or rule.stream is facts.streamed)
            and (facts.answerable or rule.refuses)
            and (facts.sent or rule.refuses or rule.disturbance is not None)
            and _fits(self._routes, facts.route)
            and _fits(self._models, *facts.models)
            and _fits(self._adapters, facts.adapter)
            and _fits(self._api_keys, facts.api_key)
            and _fits(self._tenants, facts.tenant)
            and all(_fits(matcher, facts.header(name)) for name, matcher in self._headers.items())
        )

    def _fires(self) -> bool:
        rule, number = self.rule, self._matched - self.rule.after
        return (
            number > 0
            and (rule.first is None or number <= rule.first)
            and number % rule.every == 0
            and (rule.times is None or self._failed < rule.times)
            and (rule.rate >= 100 or self._generator.random() * 100 < rule.rate)  # noqa: PLR2004 - percent
        )

    def _fault(self) -> Fault:
        rule = self.rule
        if not rule.refuses:
            return Fault(rule.name, disturbance=rule.disturbance, damage=rule.damage)
        refusal = None
        if rule.type is not None:
            refusal = TYPES[rule.type](self._model)
        elif rule.status is not None:
            message = rule.message or f"The failure rule {rule.name} answers {rule.status}."
            refusal = InjectedFailure(rule.status, rule.error_type or kind_of(rule.status), message, code=rule.code)
        return Fault(rule.name, refusal, _retry_headers(rule.retry_after), rule.reset, rule.delay)


def _retry_headers(seconds: float | None) -> Mapping[str, str]:
    """Tell when to try again: in whole seconds as HTTP has it, and to the millisecond as OpenAI's clients read it."""
    if seconds is None:
        return {}
    return {"Retry-After": str(math.ceil(seconds)), "retry-after-ms": str(math.ceil(seconds * 1000))}
