"""The failure-rules option."""

import json
from math import inf
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from vllmsim.config.failurerule import FailureRule, write_failure_rules
from vllmsim.config.failurerules import parse_failure_rules
from vllmsim.config.fakemetrics import InvalidMembers
from vllmsim.config.loading import ConfigurationError
from vllmsim.faults import Damage
from vllmsim.inference import Disturbance

RULES: list[dict[str, Any]] = [
    {"status": 503, "retry-after": 1.5, "header": {"X-A": None, "b": "q*"}, "first": 3, "delay": "2s"},
    {"name": "slow", "stall": 3, "cut": 4, "model": ["a", "b"], "adapter": "l*", "after": 1, "every": 2, "times": 5},
    {"truncate": {"tokens": 3, "then": "end"}, "route": "/v1/*", "api-key": "sk-1", "rate": 12.5},
    {"done": "twice", "stall": {"tokens": 2, "for": "2s"}, "first-token": "1s"},
    {"type": "rate_limit", "retry-after": "1m"},
    {"status": 418, "message": "No tea.", "error-type": "teapot", "code": 7, "stream": False},
    {"reset": True, "header": "x-reset"},
    {"malformed": 0},
    {"truncate": 0},
    {"done": "missing"},
    {"first-token": "1s"},
]


class FailureRuleTests(SynchronousTestCase):
    """Reading and writing."""

    def check_faults(self, value: object, *expected: tuple[str, str]) -> None:
        """Read a value that is wrong, and find a part of each fault."""
        faults = self.assertRaises(InvalidMembers, parse_failure_rules, value).faults
        self.assertEqual([member for member, _ in expected], [member for member, _ in faults])
        for (_, told), (_, fault) in zip(expected, faults, strict=True):
            self.assertIn(told, fault)

    def test_members(self) -> None:
        """Every member is read; what a rule does not say is as usual."""
        rules = parse_failure_rules(RULES)
        self.assertEqual(
            FailureRule("rule-1", header=(("b", "q*"), ("x-a", "*")), first=3, status=503, retry_after=1.5, delay=2.0),
            rules[0],
        )
        self.assertEqual((Disturbance(0.0, inf, 3), Damage("cut", 4)), (rules[1].disturbance, rules[1].damage))
        self.assertEqual((1, 2, 5, ("a", "b")), (rules[1].after, rules[1].every, rules[1].times, rules[1].model))
        self.assertEqual((Damage("truncate", 3, ends=True), 12.5), (rules[2].damage, rules[2].rate))
        self.assertEqual((Damage("done-twice"), True), (rules[3].damage, rules[3].stream))
        self.assertEqual(Disturbance(1.0, 2.0, 2), rules[3].disturbance)
        self.assertEqual(60.0, rules[4].retry_after)
        self.assertEqual(("No tea.", "teapot", 7, False), (rules[5].message, rules[5].error_type, rules[5].code,
                                                           rules[5].stream))  # fmt: skip
        self.assertEqual((True, (("x-reset", "*"),)), (rules[6].reset, rules[6].header))

    def test_kinds(self) -> None:
        """Each rule has a word for how requests fail."""
        kinds = ["status-503", "stall+cut", "truncate", "first-token+stall+done-twice", "rate_limit", "status-418",
                 "reset", "malformed", "truncate", "done-missing", "first-token"]  # fmt: skip
        self.assertEqual(kinds, [rule.kind for rule in parse_failure_rules(RULES)])

    def test_round_trip(self) -> None:
        """What is written is read back, through JSON too."""
        rules = parse_failure_rules(RULES)
        self.assertEqual(rules, parse_failure_rules(json.loads(json.dumps(write_failure_rules(rules)))))

    def test_faults(self) -> None:
        """Every wrong member is told at once, with the number of its rule."""
        self.check_faults(
            [3, {"status": 99, "message": True, "frist": 1, "cut": "x"}, {"stall": {"tokens": -1, "far": 1}},
             {"type": "bad", "header": {"X": []}, "name": "", "model": [], "rate": -1, "reset": False}],
            ("0", "must be a map"),
            ("1.cut", "integer"), ("1.status", "from 200 to 599"), ("1.message", "text"), ("1.frist", "no member"),
            ("1.cut", "with status there is none"),
            ("2.stall.tokens", "integer"), ("2.stall.far", "none of tokens, for"),
            ("3.name", "1 to 128"), ("3.model", "1 to 16"), ("3.header.X", "text"), ("3.rate", "0 to 100"),
            ("3.type", "one of rate_limit"), ("3.reset", "true"), ("3.reset", "no type"),
        )  # fmt: skip

    def test_contradictions(self) -> None:
        """A rule says one thing, and a thing that can be."""
        self.check_faults([{"first": 1}], ("0.status", "says how requests fail"))
        self.check_faults([{"cut": 1, "truncate": 1}], ("0.truncate", "no cut"))
        self.check_faults([{"cut": 1, "message": "x", "delay": 1}], ("0.message", "status"), ("0.delay", "reset"))
        self.check_faults([{"reset": True, "retry-after": 1}], ("0.retry-after", "type or status"))
        self.check_faults([{"type": "rate_limit", "code": 1}], ("0.code", "status"))
        self.check_faults([{"done": "twice", "stream": False}], ("0.done", "streams"))
        self.check_faults([{"done": "thrice"}], ("0.done", "missing or twice"))
        self.check_faults([{"truncate": {"then": "stay"}}], ("0.truncate.then", "close or end"))
        self.check_faults([{"cut": 1, "name": "a"}, {"cut": 1, "name": "a"}], ("1.name", "twice"))
        self.check_faults([{"cut": 1, "header": 3}], ("0.header", "name of a header"))
        self.check_faults([{"cut": 1, "model": "m" * 257}], ("0.model", "at most 256 characters"))

    def test_names(self) -> None:
        """A rule without a name has the name of its place, or of the next one that is free."""
        rules = parse_failure_rules([{"cut": 1}, {"cut": 2, "name": "rule-3"}, {"cut": 3}, {"cut": 4}])
        self.assertEqual(["rule-1", "rule-3", "rule-4", "rule-5"], [rule.name for rule in rules])
        again = parse_failure_rules([{"cut": 9}, *write_failure_rules(rules)])
        self.assertEqual(["rule-2", "rule-1", "rule-3", "rule-4", "rule-5"], [rule.name for rule in again])

    def test_bounds(self) -> None:
        """There are not too many rules, and they are a list."""
        self.assertIn("not a list", str(self.assertRaises(ValueError, parse_failure_rules, {})))
        self.assertIn("257 rules", str(self.assertRaises(ValueError, parse_failure_rules, [{"cut": 1}] * 257)))

    def test_command_line(self) -> None:
        """The command line takes the rules as JSON, and names what is wrong with them."""
        loaded = load_words(("--failure-rules", '[{"status": 503}]'), {})
        self.assertEqual((FailureRule("rule-1", status=503),), loaded.configuration.failure_rules)
        words = ("--failure-rules", '[{"status": 503, "first": 0}]')
        error = self.assertRaises(ConfigurationError, load_words, words, {})
        self.assertIn("--failure-rules.0.first (command line): must be an integer from 1", str(error))
