"""Rules at work."""

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.failures.asking import facts
from vllmsim.config.failurerules import parse_failure_rules
from vllmsim.failures.rules import CountedRule
from vllmsim.faults import Damage, Tally
from vllmsim.inference import Disturbance


def rule_of(seed: int = 1, **members: Any) -> CountedRule:
    """Make a rule of its members, with ``_`` for ``-``; it answers 503 if they say nothing else."""
    named = {name.rstrip("_").replace("_", "-"): member for name, member in members.items()}
    ends = {"type", "status", "reset", "cut", "stall", "first-token", "malformed"}
    [rule] = parse_failure_rules([named if ends & named.keys() else {**named, "status": 503}])
    return CountedRule(rule, "m", seed)


class MatchTests(SynchronousTestCase):
    """Which requests a rule means."""

    def means(self, request: Any, **members: Any) -> bool:
        """Tell whether a rule means a request."""
        rule = rule_of(**members)
        rule.consider(request)
        return rule.tally.matched == 1

    def test_everything(self) -> None:
        """A rule that does not say which requests means all."""
        self.assertTrue(self.means(facts()))

    def test_members(self) -> None:
        """Each member is compared with what the request is, by patterns as in file names."""
        request = facts(
            route="/v1/completions", models=("alias", "m1"), adapter="lora-7", key="sk-abc", streamed=True,
            headers={"X-Team": "red one"},
        )  # fmt: skip
        for meant, members in (
            (True, {"route": "/v1/*"}), (False, {"route": "/v1/chat/*"}), (True, {"route": ["/x", "/v1/completions"]}),
            (True, {"model": "alias"}), (True, {"model": "m[0-9]"}), (False, {"model": "m"}), (False, {"model": "M1"}),
            (True, {"adapter": "lora-*"}), (False, {"adapter": "other"}),
            (True, {"api_key": "sk-*"}), (False, {"api_key": "sk"}),
            (True, {"stream": True}), (False, {"stream": False}),
            (True, {"header": "x-team"}), (True, {"header": {"X-TEAM": "red*"}}),
            (False, {"header": {"x-team": "red"}}),
            (False, {"header": {"x-team": "*", "x-other": None}}), (True, {"model": "alias", "route": "*"}),
            (False, {"model": "alias", "route": "/x"}),
        ):  # fmt: skip
            self.assertEqual(meant, self.means(request, **members), members)

    def test_absent(self) -> None:
        """What a request has not got fits no pattern."""
        request = facts(models=())
        for members in ({"model": "*"}, {"adapter": "*"}, {"api_key": "*"}, {"header": "x-team"}):
            self.assertFalse(self.means(request, **members), members)

    def test_lines(self) -> None:
        """A pattern is compared with all of a value, and a value of any length takes no time."""
        self.assertFalse(self.means(facts(headers={"x": "a\nb"}), header={"x": "a"}))
        self.assertTrue(self.means(facts(headers={"x": "a" * 4_000_000}), header={"x": "*a*a*a*a*"}))

    def test_unanswerable(self) -> None:
        """A request that will be refused in any case has no answer to be spoilt, but may be refused otherwise."""
        request = evolve(facts(), answerable=False)
        self.assertFalse(self.means(request, cut=3))
        self.assertFalse(self.means(request, stall=3))
        self.assertTrue(self.means(request, status=503))
        self.assertTrue(self.means(request, reset=True))


class CountTests(SynchronousTestCase):
    """Which of the requests that it means fail."""

    def check(self, expected: str, **members: Any) -> CountedRule:
        """Ask a rule about requests, of which it means all; an ``x`` is one that fails."""
        rule = rule_of(**members)
        self.assertEqual(expected, "".join("x" if rule.consider(facts()) else "." for _ in expected))
        self.assertEqual(Tally("rule-1", len(expected), expected.count("x")), rule.tally)
        return rule

    def test_counts(self) -> None:
        """The first, every so manieth, at most so many, all but the first, and all of that together."""
        self.check("xxxx")
        self.check("xx....", first=2)
        self.check("..x..x..x", every=3)
        self.check("xxx...", times=3)
        self.check("..xxxx", after=2)
        self.check("..xx....", after=2, first=2)
        self.check("...x.x....", after=2, every=2, times=2)
        self.check(".x.x....", every=2, first=4)
        self.check("....", rate=0)

    def test_others(self) -> None:
        """Requests that it does not mean are not counted."""
        rule = rule_of(first=1, stream=True)
        self.assertIsNone(rule.consider(facts()))
        self.assertIsNotNone(rule.consider(facts(streamed=True)))
        self.assertEqual(Tally("rule-1", 1, 1), rule.tally)

    def test_chance(self) -> None:
        """By chance about as many fail as the rate says; which ones depends on the seed and the rule's name alone."""

        def hits(rule: CountedRule) -> list[bool]:
            return [rule.consider(facts()) is not None for _ in range(1000)]

        rule = rule_of(rate=20)
        first = hits(rule)
        self.assertTrue(150 < sum(first) < 250)
        self.assertEqual(first, hits(rule_of(rate=20)))
        self.assertNotEqual(first, hits(rule_of(rate=20, name="other")))
        self.assertNotEqual(first, hits(rule_of(2, rate=20)))
        self.assertNotEqual(first, hits(rule))
        rule.reseed(1)
        self.assertEqual(Tally("rule-1", 0, 0), rule.tally)
        self.assertEqual(first, hits(rule))

    def test_reset(self) -> None:
        """Counters can be set to 0, and the rule begins anew."""
        rule = self.check("x..", first=1)
        rule.reset()
        self.assertIsNotNone(rule.consider(facts()))
        self.assertEqual(Tally("rule-1", 1, 1), rule.tally)


class FaultTests(SynchronousTestCase):
    """What goes wrong."""

    def fault(self, **members: Any) -> Any:
        """Have a request fail."""
        return rule_of(**members).consider(facts())

    def test_status(self) -> None:
        """A status has a type and a sentence of its own unless the rule says others."""
        refusal = self.fault(status=429).refusal
        self.assertEqual(
            (429, "RateLimitError", "The failure rule rule-1 answers 429.", None, None),
            (refusal.status, refusal.kind, refusal.message, refusal.param, refusal.code),
        )
        refusal = self.fault(status=400, message="No.", error_type="mine", code="tea").refusal
        self.assertEqual((400, "mine", "No.", "tea"), (refusal.status, refusal.kind, refusal.message, refusal.code))

    def test_type(self) -> None:
        """A type of failure is what it is when it comes by chance."""
        refusal = self.fault(type="model_not_found").refusal
        self.assertEqual((404, "The model 'm-nonexistent' does not exist"), (refusal.status, refusal.message))

    def test_retry_after(self) -> None:
        """When to try again is told in whole seconds, which are not too few, and in milliseconds."""
        self.assertEqual({}, self.fault(status=503).headers)
        self.assertEqual(
            {"Retry-After": "2", "retry-after-ms": "1500"}, self.fault(status=503, retry_after=1.5).headers
        )
        self.assertEqual({"Retry-After": "0", "retry-after-ms": "0"}, self.fault(status=503, retry_after=0).headers)

    def test_spoilt(self) -> None:
        """What spoils an answer refuses none."""
        fault = self.fault(cut=3, stall={"tokens": 2, "for": "1s"}, name="slow")
        self.assertEqual(
            ("slow", None, False, Disturbance(0.0, 1.0, 2), Damage("cut", 3)),
            (fault.name, fault.refusal, fault.reset, fault.disturbance, fault.damage),
        )

    def test_reset(self) -> None:
        """A reset may come late."""
        fault = self.fault(reset=True, delay="2s")
        self.assertEqual((True, 2.0, None), (fault.reset, fault.delay, fault.refusal))
