"""Whole scenarios, as they are read."""

import time
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.config.fakemetrics import InvalidMembers
from vllmsim.config.scenario.reading import parse_scenario, read_scenario
from vllmsim.config.scenario.values import Scenario
from vllmsim.config.schema import Configuration
from vllmsim.errors import InvalidRequest

STEP = {"at": "1s", "ready": False}


class ReadingTests(SynchronousTestCase):
    """Scenarios."""

    def read(self, **members: Any) -> Scenario:
        """Read one of a step, and more."""
        return parse_scenario({"name": "x", "steps": [STEP], **members})

    def faults(self, value: Any) -> list[tuple[str, str]]:
        """Tell what is wrong with one."""
        faults: list[tuple[str, str]] = self.assertRaises(InvalidMembers, parse_scenario, value).faults
        return faults

    def fault(self, **members: Any) -> tuple[str, str]:
        """Tell the one thing that is wrong."""
        [fault] = self.faults({"name": "x", "steps": [STEP], **members})
        return fault

    def test_least(self) -> None:
        """A name and a step are enough: it is played once, until its last step, on all ranks, and leaves nothing."""
        read = self.read()
        self.assertEqual(
            ("x", "", None, 1.0, 1, False, None),
            (read.name, read.note, read.seed, read.duration, read.repeat, read.keep, read.rank),
        )
        self.assertEqual([(1, 1.0, {"ready": False})], [(step.number, step.at, step.shown) for step in read.steps])

    def test_all(self) -> None:
        """There may be a note, a seed, a duration, how often, a rank, and whether all stays as it is then."""
        read = self.read(note="n", seed=-3, duration="1m30s", repeat=7, keep=True, rank=2)
        self.assertEqual(
            ("n", -3, 90.0, 7, True, 2), (read.note, read.seed, read.duration, read.repeat, read.keep, read.rank)
        )
        self.assertEqual(None, self.read(repeat="forever").repeat)

    def test_end(self) -> None:
        """A scenario lasts until its last ramp is at its end, unless it is to last longer."""
        ramp = {"at": "1s", "ramp": {"inter-token-latency": "1s"}, "over": "5s"}
        self.assertEqual(6.0, self.read(steps=[ramp, {"at": "2s", "ready": True}]).duration)

    def test_wrong(self) -> None:
        """Whatever is wrong is named."""
        self.assertEqual(("duration", "ends before step 1 does"), self.fault(duration="0.5s"))
        self.assertEqual("duration", self.fault(steps=[{"at": "0s", "abort": True}], repeat="forever")[0])
        wrong: list[dict[str, Any]] = [
            {"name": ""},
            {"name": "x" * 129},
            {"name": "two\nlines"},
            {"name": [1]},
            {"note": 5 * [1]},
            {"seed": 1.5},
            {"seed": 1 << 65},
            {"seed": True},
            {"duration": 5},
            {"duration": "5"},
            {"duration": "soon"},
            {"repeat": 0},
            {"repeat": "often"},
            {"keep": "yes"},
            {"rank": -1},
            {"steps": []},
            {"steps": {}},
            {"steps": [STEP] * 1001},
        ]
        for members in wrong:
            [member] = members
            self.assertEqual(member, self.fault(**members)[0])

    def test_missing(self) -> None:
        """A name and steps must be there."""
        self.assertEqual([("name", "is missing"), ("steps", "is missing")], self.faults({}))

    def test_unknown(self) -> None:
        """What is not known is named, with what it may have been meant to be."""
        member, fault = self.fault(reapeat=3)
        self.assertEqual("reapeat", member)
        self.assertTrue(fault.endswith("; did you mean repeat?"), fault)

    def test_all_at_once(self) -> None:
        """Everything that is wrong is told at once, steps by their numbers."""
        steps = [{"at": "1s", "redy": True}, {"at": "2s", "kv-pressure": 2, "ready": 1}, 3]
        faults = self.faults({"name": "", "steps": steps, "repeat": -1})
        self.assertEqual(
            ["name", "repeat", "step 1, redy", "step 2, kv-pressure", "step 2, ready", "step 3"],
            sorted(member for member, _ in faults),
        )

    def test_no_map(self) -> None:
        """What is no map is no scenario."""
        for value in (None, 3, "x", [STEP]):
            self.assertRaises(ValueError, parse_scenario, value)

    def test_text(self) -> None:
        """A text is read and checked; the error says how much is wrong, and what."""
        text = b"{name: x, steps: [{at: 1s, kv-pressure: 0.5, sleep: 1}]}"
        cached = Configuration(enable_kvcache=True, enable_sleep_mode=True)
        self.assertEqual(0.5, read_scenario(text, {0: cached}, json=False).steps[0].kv_pressure)
        error = self.assertRaises(InvalidRequest, read_scenario, text, {0: cached, 1: Configuration()}, json=False)
        self.assertEqual(
            "2 problems in the scenario: step 1, kv-pressure: needs a KV cache, which there is with enable-kvcache;"
            " step 1, sleep: needs enable-sleep-mode",
            error.message,
        )
        for wrong, message in (
            (b"{", "This is no scenario: it is not YAML"),
            (b"3", "This is no scenario: a scenario must be a map"),
            (b"{name: x, steps: [{at: 1s}]}", "1 problem in the scenario: step 1, at: is all that the step has"),
        ):
            error = self.assertRaises(InvalidRequest, read_scenario, wrong, {0: cached}, json=False)
            self.assertTrue(error.message.startswith(message), error.message)

    def test_many(self) -> None:
        """Of very many things that are wrong the first are told."""
        text = b'{"name": "x", "steps": [%s]}' % b", ".join([b'{"at": 5}'] * 1000)
        error = self.assertRaises(InvalidRequest, read_scenario, text, {}, json=True)
        words = "More than 50 problems in the scenario: step 1, at: must be"
        self.assertTrue(error.message.startswith(words), error.message)
        self.assertLess(len(error.message), 20_000)

    def test_rank(self) -> None:
        """Whoever starts a scenario may name another rank than it does itself."""
        text = b"{name: x, rank: 1, steps: [{at: 1s, ready: true}]}"
        two = dict.fromkeys(range(2), Configuration(data_parallel_size=2))
        self.assertEqual([1, 0], [read_scenario(text, two, json=False, rank=rank).rank for rank in (None, 0)])
        error = self.assertRaises(InvalidRequest, read_scenario, text, two, json=False, rank=2)
        self.assertIn("rank: 2 is none of this server's, which has 0, 1", error.message)

    def test_other_ranks(self) -> None:
        """What does not go with a rank that it is not for is no matter."""
        text = b"{name: x, rank: 1, steps: [{at: 1s, set: {inter-token-latency-std-dev: 9ms}}]}"
        two = Configuration(data_parallel_size=2)
        ranks = {0: two, 1: evolve(two, inter_token_latency=0.03)}
        self.assertEqual(1, read_scenario(text, ranks, json=False).rank)
        self.assertRaises(InvalidRequest, read_scenario, text, ranks, json=False, rank=0)
        self.assertRaises(InvalidRequest, read_scenario, text.replace(b"rank: 1, ", b""), ranks, json=False)

    def test_hostile_names(self) -> None:
        """Names that nobody knows are told of in no time, however many there are."""
        names = ", ".join(f"x{number}-latency: 1" for number in range(5000))
        steps = ", ".join("{at: 1s, ramp: {inter-token-latncy: 1, prefil: 2}, over: 1s}" for _ in range(900))
        for body in (f"[{{at: 1s, set: {{{names}}}}}]", f"[{{at: 1s, ramp: {{{names}}}, over: 1s}}]", f"[{steps}]"):
            begun = time.perf_counter()
            text = f"{{name: x, steps: {body}}}".encode()
            self.assertRaises(InvalidRequest, read_scenario, text, {}, json=False)
            self.assertLess(time.perf_counter() - begun, 10)
