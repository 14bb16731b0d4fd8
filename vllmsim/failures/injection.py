# -*- test-case-name: tests.failures.test_injection -*-
"""Which requests fail: those that ask for it, those that a rule hits, some by chance, and some because others say so.

They are asked in this order; the others are plugins.
"""

import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from attrs import define, field
from zope.interface import implementer

from vllmsim.config.live import LiveConfiguration
from vllmsim.config.schema import Configuration
from vllmsim.failures.errors import TYPES, asked_for
from vllmsim.failures.rules import CountedRule
from vllmsim.faults import Facts, FailureReport, Fault, Tally
from vllmsim.interfaces import IFailure, IFailureBook, IFailureMetrics
from vllmsim.randomness import derive

HEADER: Final = "X-Return-Error"
CHANCE: Final = "failure-injection-rate"
PLUGIN: Final = "plugin"


@implementer(IFailure, IFailureBook)
@define(eq=False)
class FailureInjection:
    """Decides which requests of one rank fail.

    What fails by chance is drawn from a generator of its own, and so for each rule with a rate: the same requests in
    the same order fail alike, whatever else is random.

    :param seed: the rank's own seed.
    """

    _live: LiveConfiguration
    _seed: int
    _metrics: IFailureMetrics
    active: bool = field(init=False, default=False)
    """Whether any request may fail that does not ask for it."""
    _rules: Mapping[str, CountedRule] = field(init=False, factory=dict)
    _generator: random.Random = field(init=False)
    _drawn: int = field(init=False, default=0)
    _by_chance: int = field(init=False, default=0)
    _asked: int = field(init=False, default=0)
    _further: Mapping[str, IFailure] = field(init=False, factory=dict)
    _failed: dict[str, tuple[int, int]] = field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        self._generator = derive(self._seed, "failures")
        self._live.watch(self._change)
        self._change(self._live.current, self._live.current)

    def _change(self, _: Configuration, c: Configuration) -> None:
        """Go by another configuration. Rules that stay as they were go on counting."""
        known = self._rules
        self._rules = {
            rule.name: known[rule.name]
            if rule.name in known and known[rule.name].rule == rule
            else CountedRule(rule, c.model, self._seed)
            for rule in c.failure_rules
        }
        self._expect(c)

    def _expect(self, c: Configuration) -> None:
        chance = [("", kind) for kind in c.failure_types or TYPES] if c.failure_injection_rate else []
        further = [(f"{PLUGIN}:{name}", PLUGIN) for name in self._further]
        self._metrics.failures_expected([*((rule.name, rule.kind) for rule in c.failure_rules), *chance, *further])
        self.active = bool(self._rules or self._further) or c.failure_injection_rate > 0

    def ask_too(self, further: Mapping[str, IFailure]) -> None:
        """Have others be asked, in their order, about requests that do not fail otherwise.

        :param further: all there are from now on, by name. Those that were there already go on counting.
        """
        self._further = further
        self._failed = {name: self._failed.get(name, (0, 0)) for name in further}
        self._expect(self._live.current)

    def reseed(self, seed: int) -> None:
        """Begin anew with another seed, as if no request had come yet."""
        self._seed = seed
        self._generator = derive(seed, "failures")
        for rule in self._rules.values():
            rule.reseed(seed)
        self.reset()

    def reset(self) -> None:
        """Set all counters to 0; see :class:`vllmsim.interfaces.IFailureBook`."""
        self._drawn = self._by_chance = self._asked = 0
        self._failed = dict.fromkeys(self._further, (0, 0))
        for rule in self._rules.values():
            rule.reset()

    def report(self) -> FailureReport:
        """Tell what has failed; see :class:`vllmsim.interfaces.IFailureBook`."""
        return FailureReport(
            [
                *(rule.tally for rule in self._rules.values()),
                *(Tally(f"{PLUGIN}:{name}", *counts) for name, counts in self._failed.items()),
            ],
            Tally(CHANCE, self._drawn, self._by_chance),
            Tally(HEADER, self._asked, self._asked),
        )

    def consider(self) -> Callable[[Facts], Fault | None]:
        """Take what decides now; see :class:`vllmsim.interfaces.IFailure`."""
        further = {name: each.consider() for name, each in self._further.items() if each.active}
        return partial(self._decide, self._live.current, self._rules, further)

    def _decide(
        self,
        c: Configuration,
        rules: Mapping[str, CountedRule],
        further: Mapping[str, Callable[[Facts], Fault | None]],
        facts: Facts,
    ) -> Fault | None:
        if c.return_error_header and (value := facts.header(HEADER)):
            refusal = asked_for(value)
            self._asked += 1
            self._metrics.request_failed("", HEADER)
            return Fault(HEADER, refusal)
        for counted in rules.values():
            if (fault := counted.consider(facts)) is not None:
                self._metrics.request_failed(counted.rule.name, counted.rule.kind)
                return fault
        fault = self._draw(c) if c.failure_injection_rate else None
        return self._ask(further, facts) if fault is None and further else fault

    def _ask(self, further: Mapping[str, Callable[[Facts], Fault | None]], facts: Facts) -> Fault | None:
        for name, decide in further.items():
            asked, failed = self._failed.get(name, (0, 0))
            fault = decide(facts)
            # Of one that is gone since, nobody counts any more.
            if name in self._failed:
                self._failed[name] = asked + 1, failed + (fault is not None)
            if fault is not None:
                self._metrics.request_failed(f"{PLUGIN}:{name}", PLUGIN)
                return fault
        return None

    def _draw(self, c: Configuration) -> Fault | None:
        self._drawn += 1
        if self._generator.randint(1, 100) > c.failure_injection_rate:
            return None
        kind = self._generator.choice(c.failure_types or tuple(TYPES))
        self._by_chance += 1
        self._metrics.request_failed("", kind)
        return Fault(kind, TYPES[kind](c.model))
