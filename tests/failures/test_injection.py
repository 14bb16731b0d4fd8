"""Which requests fail."""

import json
from typing import Any

from attrs import define, evolve, field
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.commandline import load_words
from tests.failures.asking import facts
from vllmsim.config.failurerules import parse_failure_rules
from vllmsim.config.live import LiveConfiguration
from vllmsim.errors import InvalidRequest
from vllmsim.failures.errors import TYPES
from vllmsim.failures.injection import FailureInjection
from vllmsim.faults import Tally
from vllmsim.interfaces import IFailure, IFailureBook, IFailureMetrics


@implementer(IFailureMetrics)
@define(eq=False)
class Heard:
    """Remembers what it hears."""

    expected: list[tuple[str, str]] = field(factory=list)
    failed: list[tuple[str, str]] = field(factory=list)

    def failures_expected(self, failures: Any) -> None:
        """Remember."""
        self.expected = list(failures)

    def request_failed(self, rule: str, kind: str) -> None:
        """Remember."""
        self.failed.append((rule, kind))


class InjectionTests(SynchronousTestCase):
    """Chance, rules and the header."""

    def inject(self, *rules: dict[str, Any], seed: int = 1, **options: Any) -> FailureInjection:
        """Make what has requests fail."""
        words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        loaded = load_words(("--model", "m", "--failure-rules", json.dumps(rules), *words), {})
        self.live, self.heard = LiveConfiguration(loaded.configuration), Heard()
        return FailureInjection(self.live, seed, self.heard)

    def hits(self, injection: FailureInjection, count: int) -> list[str]:
        """Ask about requests, and name what hit each."""
        return [fault.name if (fault := injection.consider()(facts())) else "" for _ in range(count)]

    def test_interfaces(self) -> None:
        """It is what it says."""
        injection = self.inject()
        verifyObject(IFailure, injection)
        verifyObject(IFailureBook, injection)
        verifyObject(IFailureMetrics, self.heard)

    def test_nothing(self) -> None:
        """Nothing fails unless something says so, and then nobody need ask."""
        injection = self.inject()
        self.assertFalse(injection.active)
        self.assertEqual([""] * 5, self.hits(injection, 5))
        self.assertEqual([], self.heard.expected)

    def test_all(self) -> None:
        """With a rate of 100 every request fails, in any of the six ways."""
        injection = self.inject(failure_injection_rate=100)
        self.assertTrue(injection.active)
        self.assertEqual(set(TYPES), set(self.hits(injection, 200)))
        self.assertEqual({("", kind) for kind in TYPES}, set(self.heard.expected))
        self.assertEqual(200, len(self.heard.failed))

    def test_types(self) -> None:
        """The types that are named are those that come."""
        injection = self.inject(failure_injection_rate=100, failure_types="rate_limit")
        self.assertEqual(["rate_limit"] * 20, self.hits(injection, 20))

    def test_rate(self) -> None:
        """About as many fail as the rate says, the same ones with the same seed."""
        hits = self.hits(self.inject(failure_injection_rate=30), 1000)
        self.assertTrue(240 < sum(map(bool, hits)) < 360)
        self.assertEqual(hits, self.hits(self.inject(failure_injection_rate=30), 1000))
        self.assertNotEqual(hits, self.hits(self.inject(failure_injection_rate=30, seed=2), 1000))

    def test_order(self) -> None:
        """The header comes before rules, the first rule that hits before others, and rules before chance."""
        injection = self.inject(
            {"name": "a", "status": 503, "times": 1}, {"name": "b", "status": 503, "times": 2},
            failure_injection_rate=100, failure_types="server_error",
        )  # fmt: skip
        fault = injection.consider()(facts(headers={"x-return-error": "422"}))
        assert fault is not None
        assert fault.refusal is not None
        self.assertEqual(("X-Return-Error", 422), (fault.name, fault.refusal.status))
        self.assertEqual(["a", "b", "b", "server_error"], self.hits(injection, 4))
        report = injection.report()
        self.assertEqual([Tally("a", 4, 1), Tally("b", 3, 2)], report.rules)
        self.assertEqual(Tally("failure-injection-rate", 1, 1), report.chance)
        self.assertEqual(Tally("X-Return-Error", 1, 1), report.header)
        self.assertEqual(
            [
                ("", "X-Return-Error"),
                ("a", "status-503"),
                ("b", "status-503"),
                ("b", "status-503"),
                ("", "server_error"),
            ],
            self.heard.failed,
        )

    def test_header(self) -> None:
        """A header that is no status is the request's fault, and counts for nothing; it can be switched off."""
        injection = self.inject()
        self.assertRaises(InvalidRequest, injection.consider(), facts(headers={"X-Return-Error": "abc"}))
        self.assertIsNone(injection.consider()(facts(headers={"X-Return-Error": ""})))
        self.assertEqual(0, injection.report().header.matched)
        self.live.swap(evolve(self.live.current, return_error_header=False))
        self.assertIsNone(injection.consider()(facts(headers={"X-Return-Error": "422"})))

    def test_live(self) -> None:
        """Rate, types and rules hold as soon as they change; rules that stay as they were go on counting."""
        rules = [{"name": "a", "status": 503, "first": 2}, {"name": "b", "status": 503, "stream": True}]
        injection = self.inject(*rules)
        self.hits(injection, 1)
        changed = parse_failure_rules([{"name": "c", "cut": 1, "stream": True}, rules[0]])
        self.live.swap(evolve(self.live.current, failure_rules=changed))
        self.assertEqual(["a", ""], self.hits(injection, 2))
        self.assertEqual([Tally("c", 0, 0), Tally("a", 3, 2)], injection.report().rules)
        self.assertEqual([("c", "cut"), ("a", "status-503")], self.heard.expected)
        anew = parse_failure_rules([{"name": "a", "status": 500, "first": 2}])
        self.live.swap(evolve(self.live.current, failure_rules=anew))
        self.assertEqual(["a", "a", ""], self.hits(injection, 3))
        self.live.swap(evolve(self.live.current, failure_rules=(), failure_injection_rate=100,
                              failure_types=("rate_limit",)))  # fmt: skip
        self.assertEqual(["rate_limit"], self.hits(injection, 1))
        self.live.swap(evolve(self.live.current, failure_injection_rate=0))
        self.assertFalse(injection.active)

    def test_reset(self) -> None:
        """Counters can be set to 0, those of rules too."""
        injection = self.inject({"name": "a", "status": 503, "first": 1}, failure_injection_rate=100)
        self.hits(injection, 3)
        injection.reset()
        report = injection.report()
        self.assertEqual([Tally("a", 0, 0)], report.rules)
        self.assertEqual((0, 0), (report.chance.matched, report.chance.failed))
        self.assertEqual("a", self.hits(injection, 1)[0])

    def test_reseed(self) -> None:
        """With its seed it begins again as it began, counters and chance."""
        rule = {"name": "a", "status": 503, "rate": 50, "times": 20}
        injection = self.inject(rule, failure_injection_rate=30)
        first = self.hits(injection, 100)
        self.assertNotEqual(first, self.hits(injection, 100))
        injection.reseed(1)
        self.assertEqual(first, self.hits(injection, 100))
        injection.reseed(2)
        second = self.hits(injection, 100)
        self.assertNotEqual(first, second)
        self.assertEqual(second, self.hits(self.inject(rule, seed=2, failure_injection_rate=30), 100))
