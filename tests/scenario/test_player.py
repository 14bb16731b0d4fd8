"""Scenarios on a rank."""

import json
from itertools import pairwise
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from tests.fakes import in_thread
from tests.harness import EPOCH, RankTestCase
from vllmsim.config.fakemetrics import FakeMetrics
from vllmsim.errors import Conflict, InvalidRequest
from vllmsim.interfaces import IScenarios
from vllmsim.scenario.options import ScenarioOptions
from vllmsim.scenario.player import Scenarios
from vllmsim.scenario.stage import Stage

FIRST, BETWEEN = "time-to-first-token", "inter-token-latency"
LABELS = '{engine="0",model_name="Qwen/Qwen3-0.6B"}'
CACHE = ("--enable-kvcache", "--kv-cache-size", "101", "--max-model-len", "320")


class ScenarioTestCase(RankTestCase):
    """A rank, and what scenarios do to it. Seconds are fractions that a computer can add up."""

    def begin(self, *steps: dict[str, Any], rank: int | None = None, replace: bool = False, **members: Any) -> None:
        """Begin a scenario."""
        text = json.dumps({"name": "x", "steps": [*steps], **members}).encode()
        starting = Deferred.fromCoroutine(self.scenarios.start(text, json=True, rank=rank, replace=replace))
        self.successResultOf(starting)

    def stop(self) -> bool:
        """Stop the one that is played."""
        stopped: bool = self.successResultOf(Deferred.fromCoroutine(self.scenarios.stop()))
        return stopped

    def wait(self, seconds: float) -> None:
        """Let time go by."""
        self.clock.pump([0.0625] * round(seconds * 16))

    def played(self) -> Any:
        """Tell what is told of the scenario."""
        return self.scenarios.describe()["scenario"]

    @property
    def running(self) -> bool:
        """Whether one is played."""
        running: bool = self.scenarios.describe()["running"]
        return running

    def latencies(self) -> tuple[float, float]:
        """Tell the two that are tried most."""
        return round(self.live.current.time_to_first_token, 6), round(self.live.current.inter_token_latency, 6)


class OptionTests(ScenarioTestCase):
    """Options, step by step."""

    def test_provides(self) -> None:
        """It is what routes know scenarios by; at first nothing is played."""
        self.make_rank()
        verifyObject(IScenarios, self.scenarios)
        self.assertEqual({"running": False, "scenario": None}, self.scenarios.describe())
        self.assertFalse(self.stop())

    def test_steps(self) -> None:
        """Each step comes at its time, and at the end of the last all is as it was."""
        self.make_rank("--time-to-first-token", "5ms")
        self.begin(
            {"at": "0s", "set": {FIRST: "1s"}},
            {"at": "1s", "set": {BETWEEN: "20ms"}},
            {"at": "2s", "set": {FIRST: "2s"}},
            duration="3s",
        )
        seen = [self.latencies()]
        for _ in range(4):
            self.wait(1)
            seen.append(self.latencies())
        self.assertEqual([(1.0, 0.0), (1.0, 0.02), (2.0, 0.02), (0.005, 0.0), (0.005, 0.0)], seen)
        self.assertEqual((False, "finished", 3.0), (self.running, self.played()["outcome"], self.played()["elapsed"]))

    def test_ramp(self) -> None:
        """A ramp goes on ten times a second, from where the value was."""
        self.make_rank("--inter-token-latency", "20ms")
        self.begin({"at": "1s", "ramp": {BETWEEN: "120ms"}, "over": "10s"}, duration="12s")
        seen = []
        for _ in range(23):
            self.clock.advance(0.5)
            seen.append(self.latencies()[1])
        ramp = [0.02 + 0.01 * half / 2 for half in range(21)]
        self.assertEqual([0.02, *[round(value, 6) for value in ramp], 0.12], seen)
        self.clock.advance(0.5)
        self.assertEqual(0.02, self.latencies()[1])

    def test_ticks(self) -> None:
        """Between two ticks nothing changes."""
        self.make_rank()
        swaps: list[float] = []
        self.live.watch(lambda _, now: swaps.append(round(now.inter_token_latency, 6)))
        self.begin({"at": "0s", "ramp": {BETWEEN: [0, "1s"]}, "over": "1s"}, duration="2s")
        self.clock.pump([0.01] * 150)
        self.assertEqual([round(0.1 * tick, 6) for tick in range(1, 11)], swaps)

    def test_late(self) -> None:
        """When the reactor was busy for long, ticks that were missed are left out, and no step is."""
        self.make_rank()
        swaps: list[float] = []
        self.live.watch(lambda _, now: swaps.append(round(now.inter_token_latency, 6)))
        self.begin(
            {"at": "0s", "ramp": {BETWEEN: [0, "100ms"]}, "over": "10s"},
            {"at": "2s", "set": {FIRST: "1s"}},
            {"at": "4s", "set": {FIRST: "2s"}},
            duration="20s",
        )
        self.clock.advance(5)
        self.assertEqual((2.0, 0.05), self.latencies())
        self.assertLess(len(swaps), 8)
        self.clock.advance(6)
        self.assertEqual((2.0, 0.1), self.latencies())

    def test_follows(self) -> None:
        """What comes later goes on from where a ramp has come, or ends it."""
        self.make_rank()
        self.begin(
            {"at": "0s", "ramp": {BETWEEN: [0, "40ms"], FIRST: [0, "40ms"]}, "over": "4s"},
            {"at": "2s", "ramp": {BETWEEN: 0}, "over": "2s", "set": {FIRST: "9s"}},
            duration="8s",
        )
        seen = []
        for _ in range(5):
            seen.append(self.latencies())
            self.wait(1)
        self.assertEqual([(0.0, 0.0), (0.01, 0.01), (9.0, 0.02), (9.0, 0.01), (9.0, 0.0)], seen)

    def test_one_way(self) -> None:
        """Options change as if an operator had done it: all is one change of the scenario's, which may be undone."""
        self.make_rank()
        self.begin({"at": "0s", "set": {FIRST: "1s"}}, {"at": "1s", "ramp": {BETWEEN: "1s"}, "over": "1s"}, keep=True)
        self.wait(3)
        [change] = self.get("/admin/config/history").json()["changes"]
        self.assertEqual(("scenario x", "change"), (change["who"], change["what"]))
        self.assertEqual({FIRST: "1s", BETWEEN: "1s"}, {each["option"]: each["new"] for each in change["changes"]})
        self.post("/admin/config/undo", b"")
        self.assertEqual((0.0, 0.0), self.latencies())

    def test_no_traces(self) -> None:
        """One that has left nothing behind is no change: what is undone is what was done before it."""
        self.make_rank()
        self.post("/admin/config", {FIRST: "3s"})
        self.begin({"at": "0s", "set": {FIRST: "1s"}}, duration="1s")
        self.wait(2)
        self.assertEqual(3.0, self.latencies()[0])
        self.post("/admin/config/undo", b"")
        self.assertEqual(0.0, self.latencies()[0])

    def test_others(self) -> None:
        """What others change meanwhile stays so."""
        self.make_rank()
        self.begin({"at": "0s", "set": {FIRST: "1s", BETWEEN: "1s"}}, duration="2s")
        self.wait(1)
        self.post("/admin/config", {FIRST: "7s", "prefill-overhead": "3s"})
        self.wait(2)
        self.assertEqual(((7.0, 0.0), 3.0), (self.latencies(), self.live.current.prefill_overhead))

    def test_does_not_go_back(self) -> None:
        """What cannot be as it was, after what others have changed, stays; all else is as it was."""
        self.make_rank("--inter-token-latency", "100ms", "--inter-token-latency-std-dev", "30ms")
        self.begin({"at": "0s", "set": {f"{BETWEEN}-std-dev": "1ms", FIRST: "1s"}}, duration="2s")
        self.wait(1)
        self.post("/admin/config", {BETWEEN: "10ms"})
        self.wait(2)
        self.assertEqual((0.0, 0.01), self.latencies())
        self.assertEqual(0.001, self.live.current.inter_token_latency_std_dev)
        self.assertEqual("finished", self.played()["outcome"])

    def test_goes_wrong(self) -> None:
        """A step that does not go with what others have changed changes no option, says so, and all else goes on."""
        self.make_rank("--inter-token-latency", "100ms")
        self.begin(
            {"at": "1s", "set": {f"{BETWEEN}-std-dev": "30ms"}},
            {"at": "2s", "ramp": {f"{BETWEEN}-std-dev": ["20ms", "25ms"]}, "over": "1s", "ready": False},
            duration="4s",
        )
        self.post("/admin/config", {BETWEEN: "10ms"})
        self.wait(3.5)
        self.assertEqual(0.0, self.live.current.inter_token_latency_std_dev)
        self.assertFalse(self.rank.health.ready())
        troubles = [step["trouble"] for step in self.played()["steps"]]
        self.assertIn("30ms is more than 30 % of inter-token-latency", troubles[0])
        self.assertIn("is more than 30 % of inter-token-latency", troubles[1])

    def test_value_taken_away(self) -> None:
        """A ramp whose option has lost its value meanwhile is at its end at once."""
        self.make_rank("--max-num-queued-reqs", "5")
        self.begin({"at": "1s", "ramp": {"max-num-queued-reqs": 9}, "over": "4s"}, duration="6s")
        self.post("/admin/config", {"max-num-queued-reqs": "none"})
        self.assertIsNone(self.live.current.max_num_queued_reqs)
        self.wait(2)
        self.assertEqual(9, self.live.current.max_num_queued_reqs)
        self.wait(5)
        self.assertEqual(("finished", None), (self.played()["outcome"], self.live.current.max_num_queued_reqs))

    def test_nothing_to_go_back(self) -> None:
        """An option that had no value has none again, and one that changes in part is as a whole as it was."""
        self.make_rank("--fake-metrics", '{"running-requests": 3}')
        before = self.live.current.fake_metrics
        self.begin({"at": "0s", "fake-metrics": {"total-prompt-tokens": 5, "running-requests": 4}}, duration="1s")
        self.assertEqual(
            FakeMetrics(running_requests=4.0, counts={"total-prompt-tokens": 5}), self.live.current.fake_metrics
        )
        self.wait(2)
        self.assertEqual(before, self.live.current.fake_metrics)

    def test_secrets_go_back(self) -> None:
        """What is shown to nobody is as it was too: the key that a failure rule is for."""
        self.make_rank("--failure-rules", '[{"api-key": "sk-one", "status": 500}]')
        before = self.live.current.failure_rules
        self.begin({"at": "0s", "set": {"failure-rules": []}}, duration="1s")
        self.assertEqual((), self.live.current.failure_rules)
        self.wait(2)
        self.assertEqual(before, self.live.current.failure_rules)


class RoundTests(ScenarioTestCase):
    """From the beginning to the end, and over again."""

    def test_many_steps_at_once(self) -> None:
        """A thousand steps at the same time let other events in between, and all are taken."""
        self.make_rank()

        def work(*_: object) -> None:
            self.clock.rightNow += 0.001

        self.live.watch(work)
        self.begin(*({"at": "0s", "set": {"max-loras": 2 + n % 2}} for n in range(1000)), duration="9s")
        taken = [1]

        def look() -> None:
            following = self.played()["next"]
            taken.append(1001 if following is None else following["step"])
            if following is not None:
                self.clock.callLater(0, look)

        look()
        self.clock.advance(0)
        self.assertEqual(1001, taken[-1])
        self.assertLess(max(after - before for before, after in pairwise(taken)), 10)
        self.assertEqual((True, 3), (self.running, self.live.current.max_loras))

    def test_repeated(self) -> None:
        """Each round begins as the first did."""
        self.make_rank("--inter-token-latency", "10ms")
        self.begin(
            {"at": "0s", "load-adapter": {"name": "a", "path": "/a"}},
            {"at": "1s", "ramp": {BETWEEN: "30ms"}, "over": "2s"},
            duration="4s",
            repeat=3,
        )
        seen = []
        for _ in range(14):
            seen.append((self.latencies()[1], self.played()["round"]))
            self.wait(1)
        one = [0.01, 0.01, 0.02, 0.03]
        expected = [(value, number) for number in (1, 2, 3) for value in one]
        self.assertEqual([*expected, (0.01, 3), (0.01, 3)], seen)
        self.assertEqual(("finished", None), (self.played()["outcome"], self.played()["steps"][0]["trouble"]))

    def test_for_ever(self) -> None:
        """One that is repeated for ever ends when it is stopped."""
        self.make_rank()
        self.begin({"at": "0s", "set": {FIRST: "1s"}}, duration="1s", repeat="forever")
        self.wait(100.5)
        self.assertEqual(("forever", 101, True), (self.played()["repeat"], self.played()["round"], self.running))
        self.assertTrue(self.stop())
        self.assertEqual(("stopped", 0.0), (self.played()["outcome"], self.latencies()[0]))

    def test_stopped(self) -> None:
        """One that is stopped goes back at once, and nothing comes after it."""
        self.make_rank()
        self.begin(
            {"at": "0s", "ramp": {BETWEEN: [0, "1s"]}, "over": "10s"},
            {"at": "5s", "ready": False},
            {"at": "9s", "abort": True},
        )
        self.wait(6)
        self.assertTrue(self.stop())
        self.assertFalse(self.stop())
        self.assertEqual((0.0, True), (self.latencies()[1], self.rank.health.ready()))
        self.assertEqual(("stopped", 6.0), (self.played()["outcome"], self.played()["elapsed"]))
        self.wait(6)
        self.assertEqual((0.0, True), (self.latencies()[1], self.rank.health.ready()))

    def test_kept(self) -> None:
        """One that says so leaves all as it is, whether it is stopped or at its end; the next finds it so."""
        self.make_rank(*CACHE)
        for stops in (True, False):
            self.begin({"at": "0s", "set": {FIRST: "1s"}, "ready": False, "kv-pressure": 0.5}, duration="2s", keep=True)
            self.wait(1)
            self.assertEqual(stops, stops and self.stop())
            self.wait(2)
            self.assertEqual((1.0, False), (self.latencies()[0], self.rank.health.ready()))
            self.assertEqual({}, self.played()["changed"])
        self.begin({"at": "0s", "set": {FIRST: "2s"}, "ready": True, "kv-pressure": 0}, duration="1s")
        self.wait(2)
        self.assertEqual((1.0, False), (self.latencies()[0], self.rank.health.ready()))
        self.assertEqual(0.5, round(self.sample(f"vllm:kv_cache_usage_perc{LABELS}"), 2))

    def test_one_at_a_time(self) -> None:
        """While one is played no other begins, unless it is to take its place."""
        self.make_rank()
        self.begin({"at": "0s", "set": {FIRST: "1s"}}, duration="5s", name="first")
        starting = Deferred.fromCoroutine(
            self.scenarios.start(b"{name: y, steps: [{at: 0s, ready: true}]}", json=False, rank=None, replace=False)
        )
        self.assertIn("'first' is played", self.failureResultOf(starting, Conflict).value.message)
        self.begin({"at": "0s", "set": {BETWEEN: "1s"}}, duration="5s", name="second", replace=True)
        self.assertEqual((("second"), (0.0, 1.0)), (self.played()["name"], self.latencies()))
        self.stop()
        self.assertEqual((0.0, 0.0), self.latencies())

    def test_elsewhere(self) -> None:
        """A scenario for a rank that is in another process is refused."""
        self.make_rank("-dp", "2")
        [first, _] = self.scenarios._stages.values()
        alone = Scenarios(self.clock, ScenarioOptions(self.configurations), 7, lambda: EPOCH, in_thread)
        alone.enlist(first)
        text = b"{name: y, steps: [{at: 0s, ready: true}]}"
        starting = Deferred.fromCoroutine(alone.start(text, json=False, rank=1, replace=True))
        error = self.failureResultOf(starting, InvalidRequest).value
        self.assertEqual("Rank 1 is not served by this process, which has 0.", error.message)
        self.successResultOf(Deferred.fromCoroutine(alone.start(text, json=False, rank=0, replace=True)))

    def test_at_once(self) -> None:
        """One that has nothing but a beginning is over at once."""
        self.make_rank()
        self.begin({"at": "0s", "set": {FIRST: "1s"}}, keep=True)
        self.assertEqual((False, "finished", 1.0), (self.running, self.played()["outcome"], self.latencies()[0]))

    def test_told(self) -> None:
        """What is played is told, step by step: what is done, what comes next, and what is changed now."""
        self.make_rank(*CACHE)
        self.begin(
            {"at": "0s", "note": "slow", "set": {FIRST: "1s"}},
            {"at": "2s", "kv-pressure": 0.5, "ready": False, "load-adapter": {"name": "a", "path": "/a"}},
            duration="4s",
            note="n",
            seed=1 << 64,
        )
        self.wait(0.5)
        played = self.played()
        self.assertEqual(
            ("x", "n", 1 << 64, [0], 0.5, 4.0, 1, 1, False, None),
            tuple(
                played[name]
                for name in (
                    "name", "note", "seed", "ranks", "elapsed", "duration", "round", "repeat", "keep", "outcome",
                )
            ),
        )  # fmt: skip
        self.assertEqual([True, False], [step["done"] for step in played["steps"]])
        self.assertEqual(("slow", {"set": {FIRST: "1s"}}), (played["steps"][0]["note"], played["steps"][0]["does"]))
        self.assertEqual({"step": 2, "in": 1.5}, played["next"])
        self.assertEqual({"0": {FIRST: "1s"}}, played["changed"])
        self.wait(2)
        self.assertEqual(
            (None, {"0": {FIRST: "1s", "kv-pressure": 0.5, "ready": False, "adapters": {"a": "/a"}}}),
            (self.played()["next"], self.played()["changed"]),
        )
        self.wait(2)
        self.assertEqual(({}, None), (self.played()["changed"], self.played()["next"]))

    def test_breaks(self) -> None:
        """Whatever breaks inside, all is as it was then."""
        self.make_rank()
        self.begin({"at": "0s", "set": {FIRST: "1s"}}, {"at": "1s", "abort": True}, duration="5s")
        self.patch(Stage, "act", lambda *_: 1 / 0)
        self.wait(2)
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.assertEqual(("failed", 0.0), (self.played()["outcome"], self.latencies()[0]))


class RanksTests(ScenarioTestCase):
    """Two ranks in one process."""

    def setUp(self) -> None:
        """Start them, with a latency that one of them has changed."""
        self.ranks = self.make_ranks("-dp", "2", "--inter-token-latency", "10ms")
        self.post("/admin/config?rank=1", {BETWEEN: "30ms"})

    def between(self) -> list[float]:
        """Tell the latency of each."""
        return [round(live.current.inter_token_latency, 6) for live in self.lives.values()]

    def test_together(self) -> None:
        """A scenario is played on both, each from where it is, and each goes back to that."""
        self.begin({"at": "0s", "ramp": {BETWEEN: "50ms"}, "over": "2s", "ready": False}, duration="3s")
        seen = []
        for _ in range(4):
            seen.append((self.between(), [rank.health.ready() for rank in self.ranks]))
            self.wait(1)
        ready = [True, True]
        self.assertEqual(
            [
                ([0.01, 0.03], [False, False]),
                ([0.03, 0.04], [False, False]),
                ([0.05, 0.05], [False, False]),
                ([0.01, 0.03], ready),
            ],
            seen,
        )
        self.assertEqual([0, 1], self.played()["ranks"])

    def test_one(self) -> None:
        """It may be for one of them: the file says so, or who starts it does."""
        step = {"at": "0s", "set": {BETWEEN: "50ms"}, "ready": False}
        for members in ({"rank": 1}, {"rank": None}):
            text = json.dumps({"name": "x", "steps": [step], "duration": "1s", **members}).encode()
            rank = None if members["rank"] else 1
            starting = Deferred.fromCoroutine(self.scenarios.start(text, json=True, rank=rank, replace=False))
            self.successResultOf(starting)
            self.assertEqual(([0.01, 0.05], [1]), (self.between(), self.played()["ranks"]))
            self.assertEqual([True, False], [rank.health.ready() for rank in self.ranks])
            self.wait(2)
            self.assertEqual([0.01, 0.03], self.between())

    def test_one_change(self) -> None:
        """What is the same for all ranks changes for all of them at once, or for none."""
        self.begin({"at": "0s", "set": {BETWEEN: "50ms"}}, keep=True)
        change, _ = self.get("/admin/config/history").json()["changes"]
        self.assertEqual([[0], [1]], sorted(each["ranks"] for each in change["changes"]))

    def test_own_randomness(self) -> None:
        """Ranks draw from the same seed, and not the same."""
        self.begin({"at": "0s", "note": "begin"}, seed=5)
        self.assertEqual(2, len({rank.simulator._seed for rank in self.ranks}))

    def test_balanced(self) -> None:
        """Where ranks have one port, the same requests go to the same ranks again."""
        self.make_ranks("-dp", "3", "--data-parallel-internal-lb")
        series = [f'vllm:generation_tokens_total{{engine="{rank}",model_name="Qwen/Qwen3-0.6B"}}' for rank in range(3)]
        seen = []
        for _ in range(2):
            self.begin({"at": "0s", "note": "begin"})
            before = [self.sample(each) for each in series]
            self.complete("x", max_tokens=5, ignore_eos=True)
            seen.append([self.sample(each) - was for each, was in zip(series, before, strict=True)])
        self.assertEqual([[5.0, 0.0, 0.0]] * 2, seen)
