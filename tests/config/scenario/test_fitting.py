"""Whether a scenario goes with a server."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.config.fakemetrics import FakeMetrics
from vllmsim.config.scenario.fitting import misfits
from vllmsim.config.scenario.reading import parse_scenario
from vllmsim.config.schema import Configuration

LATENCY, DEVIATION = "inter-token-latency", "inter-token-latency-std-dev"


class FittingTests(SynchronousTestCase):
    """Scenarios that could be read."""

    def misfits(self, *steps: dict[str, Any], rank: int | None = None, **values: Any) -> list[tuple[str, str]]:
        """Tell what does not go with a server."""
        scenario = parse_scenario({"name": "x", "steps": [*steps], **({} if rank is None else {"rank": rank})})
        return misfits(scenario, Configuration(**values))

    def test_absent(self) -> None:
        """It asks nothing of a server that it has not."""
        ramp = {"at": "1s", "ramp": {"kv-pressure": 1}, "over": "1s"}
        steps: list[dict[str, Any]] = [{"at": "0s", "kv-pressure": 0.5, "sleep": 1}, ramp]
        members = ["step 1, kv-pressure", "step 1, sleep", "step 2, ramp.kv-pressure"]
        self.assertEqual(members, [member for member, _ in self.misfits(*steps)])
        self.assertEqual([], self.misfits(*steps, enable_kvcache=True, enable_sleep_mode=True))

    def test_rank(self) -> None:
        """The rank that it names is one of the server's."""
        step = {"at": "0s", "ready": False}
        self.assertEqual([], self.misfits(step, rank=1, data_parallel_size=2))
        self.assertEqual(
            [("rank", "2 is none of this server's, which has 0, 1")], self.misfits(step, rank=2, data_parallel_size=2)
        )

    def test_names(self) -> None:
        """Adapters do not take the model's own names."""
        step = {"at": "0s", "load-adapter": [{"name": "a", "path": "/a"}, {"name": "b", "path": "/b"}]}
        self.assertEqual([], self.misfits(step))
        self.assertEqual(
            [("step 1, load-adapter", "'b' is the name of the model")], self.misfits(step, served_model_name=("m", "b"))
        )

    def test_rules(self) -> None:
        """Options go together at every step, with what the server has and with what steps before have set."""
        steps = [{"at": "0s", "set": {LATENCY: "100ms"}}, {"at": "1s", "set": {DEVIATION: "30ms"}}]
        self.assertEqual([], self.misfits(*steps))
        [(member, fault)] = self.misfits(*steps[::-1][:1])
        self.assertEqual("step 1, inter-token-latency-std-dev", member)
        self.assertIn("30ms is more than 30 % of inter-token-latency", fault)
        self.assertEqual([], self.misfits(steps[1], inter_token_latency=0.1))

    def test_rules_on_the_way(self) -> None:
        """They go together all along a ramp, of which several may overlap, and are told once."""
        high = {"at": "0s", "set": {LATENCY: "100ms", DEVIATION: "30ms"}}
        down = {"at": "1s", "ramp": {LATENCY: "50ms"}, "over": "10s"}
        both = {"at": "1s", "ramp": {LATENCY: "50ms", DEVIATION: "15ms"}, "over": "10s"}
        up = {"at": "4s", "ramp": {LATENCY: "500ms"}, "over": "1s"}
        later = {"at": "30s", "note": "later"}
        self.assertEqual(["step 2, " + DEVIATION], [member for member, _ in self.misfits(high, down)])
        self.assertEqual([], self.misfits(high, both))
        # It would be wrong before the third step, where the second has gone on until then.
        self.assertEqual(["step 2, " + DEVIATION], [member for member, _ in self.misfits(high, down, up, later)])

    def test_before_a_jump(self) -> None:
        """Where a step ends a ramp, what the ramp has come to just before counts too."""
        slow = {"at": "0s", "set": {LATENCY: "100ms", DEVIATION: "1ms"}}
        spread = {"at": "1s", "ramp": {DEVIATION: "60ms"}, "over": "10s"}
        back = {"at": "6s", "set": {DEVIATION: "1ms"}}
        [(member, fault)] = self.misfits(slow, spread, back)
        self.assertEqual("step 2, " + DEVIATION, member)
        self.assertIn("30.5ms", fault)
        self.assertEqual([], self.misfits(slow, spread, back | {"at": "5s"}))

    def test_no_value(self) -> None:
        """A ramp of an option that has no value says where it begins."""
        ramp = {"at": "1s", "ramp": {"max-num-queued-reqs": 9}, "over": "1s"}
        expected = [("step 1, ramp.max-num-queued-reqs", "has no value that it could begin with")]
        self.assertEqual(expected, self.misfits(ramp))
        self.assertEqual([], self.misfits(ramp, max_num_queued_reqs=5))
        self.assertEqual([], self.misfits(ramp | {"ramp": {"max-num-queued-reqs": [5, 9]}}))

    def test_fake_metrics(self) -> None:
        """Fake metrics change only where there are some, and only those that there are."""
        step = {"at": "0s", "fake-metrics": {"running-requests": 3}}
        self.assertEqual([], self.misfits(step, fake_metrics=FakeMetrics()))
        [(member, fault)] = self.misfits(step)
        self.assertEqual("step 1, fake-metrics", member)
        self.assertIn("reporting real metrics", fault)
        wrong = {"at": "0s", "fake-metrics": {"runing-requests": 3, "kv-cache-usage": 2}}
        self.assertEqual(2, len(self.misfits(wrong, fake_metrics=FakeMetrics())))

    def test_many_steps(self) -> None:
        """A scenario of some hundred steps is found to be right, or wrong at the last of them."""
        steps = [
            {"at": f"{n}s", "set": {"prefill-overhead": n}, "ramp": {LATENCY: [n, 900]}, "over": "2s"}
            for n in range(299)
        ]
        self.assertEqual([], self.misfits(*steps))
        wrong = {"at": "5m", "set": {DEVIATION: "2s"}}
        self.assertEqual(["step 300, " + DEVIATION], [member for member, _ in self.misfits(*steps, wrong)])
