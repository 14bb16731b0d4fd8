"""The steps of scenarios, as they are read."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.config.fakemetrics import InvalidMembers
from vllmsim.config.scenario.steps import read_steps
from vllmsim.config.scenario.values import NewAdapter, Pause, Ramp, Sleep, Step


class StepTests(SynchronousTestCase):
    """Steps."""

    def read(self, **members: Any) -> Step:
        """Read one, which is at two seconds."""
        [step] = read_steps([{"at": "2s", **{name.replace("_", "-"): value for name, value in members.items()}}])
        return step

    def faults(self, *steps: Any) -> list[tuple[str, str]]:
        """Tell what is wrong with some."""
        faults: list[tuple[str, str]] = self.assertRaises(InvalidMembers, read_steps, [*steps]).faults
        return faults

    def fault(self, **members: Any) -> tuple[str, str]:
        """Tell the one thing that is wrong with one."""
        [fault] = self.faults({"at": "2s", **{name.replace("_", "-"): value for name, value in members.items()}})
        return fault

    def test_options(self) -> None:
        """Options have new values, under any of their names."""
        step = self.read(set={"time_to_first_token": "1s", "failure-injection-rate": 5, "latency-calculator": None})
        self.assertEqual({"time-to-first-token": "1s", "failure-injection-rate": 5}, step.set)
        self.assertEqual({"fake-metrics": {"running-requests": 3}}, self.read(fake_metrics={"running-requests": 3}).set)

    def test_ramps(self) -> None:
        """A ramp says where it goes to, or also where it begins, and how long it takes."""
        step = self.read(
            ramp={"inter_token_latency": ["20ms", 80], "failure-injection-rate": 50, "kv_pressure": [0, 0.5]}, over="4s"
        )
        self.assertEqual(
            (
                Ramp("inter-token-latency", 0.02, 0.08, 2.0, 6.0),
                Ramp("failure-injection-rate", None, 50, 2.0, 6.0, whole=True),
                Ramp("kv-pressure", 0.0, 0.5, 2.0, 6.0),
            ),
            step.ramps,
        )

    def test_rank(self) -> None:
        """The rank is ready or not, healthy or not, under pressure; adapters come and go."""
        step = self.read(
            ready=False,
            healthy=True,
            kv_pressure=1,
            load_adapter=[{"name": "a", "path": "/a"}, {"name": 7, "path": "/b"}],
            unload_adapter="c",
        )
        self.assertEqual((False, True, 1.0), (step.ready, step.healthy, step.kv_pressure))
        self.assertEqual((NewAdapter("a", "/a"), NewAdapter("7", "/b")), step.load)
        self.assertEqual(("c",), step.unload)
        self.assertEqual((NewAdapter("a", "/a"),), self.read(load_adapter={"name": "a", "path": "/a"}).load)
        self.assertEqual(("c", "d"), self.read(unload_adapter=["c", "d"]).unload)

    def test_control(self) -> None:
        """It pauses and resumes, sleeps and wakes up, aborts, and forgets its cache."""
        pauses: list[tuple[Any, Pause]] = [
            (True, Pause("abort", clear_cache=True)),
            ("keep", Pause("keep", clear_cache=True)),
            ({"mode": "wait", "clear-cache": False}, Pause("wait", clear_cache=False)),
        ]
        for value, pause in pauses:
            self.assertEqual(pause, self.read(pause=value).pause)
        for level, sleep in (
            (True, Sleep(1, "abort")),
            (2, Sleep(2)),
            ({"level": 0, "mode": "keep"}, Sleep(0, "keep")),
        ):
            self.assertEqual(sleep, self.read(sleep=level).sleep)
        wakes: list[tuple[Any, tuple[str, ...]]] = [
            (True, ()),
            ("weights", ("weights",)),
            (["weights", "kv_cache"], ("weights", "kv_cache")),
        ]
        for value, tags in wakes:
            self.assertEqual(tags, self.read(wake_up=value).wake_up)
        step = self.read(resume=True, abort=True, reset_prefix_cache=True)
        self.assertEqual((True, True, True), (step.resume, step.abort, step.reset_prefix_cache))
        self.assertEqual((False, None, None), (self.read(note="just that").resume, step.pause, step.wake_up))

    def test_times(self) -> None:
        """Times have units, but for 0; a number alone would be seconds for some and milliseconds for others."""
        for text, at in (("0s", 0.0), (0, 0.0), ("0", 0.0), ("100ms", 0.1), ("1m30s", 90.0), ("1.5h", 5400.0)):
            self.assertEqual(at, read_steps([{"at": text, "ready": True}])[0].at)
        for wrong in (5, "5", "5.5", "-1s", "soon", "", None, True, [1], "9000h", "1e3"):
            faults = self.faults({"at": wrong, "ready": True})
            self.assertEqual(["1.at"], [member for member, _ in faults], wrong)

    def test_order(self) -> None:
        """Steps come in the order of their times; several may be at one."""
        steps = [{"at": at, "ready": True} for at in ("1s", "1s", "2s")]
        self.assertEqual([1.0, 1.0, 2.0], [step.at for step in read_steps(steps)])
        faults = self.faults(*steps, {"at": "1.5s", "ready": True}, {"at": "3s", "ready": True})
        self.assertEqual([("4.at", "is before the step before it, which is at 2s")], faults)

    def test_wrong_values(self) -> None:
        """Whatever is wrong is named by its member."""
        for member, value in (
            ("ready", "maybe"),
            ("healthy", 1),
            ("kv-pressure", 1.5),
            ("kv-pressure", float("nan")),
            ("kv-pressure", True),
            ("pause", "now"),
            ("pause", 3),
            ("sleep", 3),
            ("sleep", "deep"),
            ("wake-up", "legs"),
            ("wake-up", []),
            ("wake-up", [["weights"]]),
            ("resume", False),
            ("abort", "all"),
            ("reset-prefix-cache", 1),
            ("load-adapter", "a"),
            ("load-adapter", {"name": "a"}),
            ("load-adapter", [{"name": "a", "path": "/a"}] * 101),
            ("unload-adapter", ""),
            ("unload-adapter", []),
            ("set", []),
            ("set", "x"),
            ("note", {}),
        ):
            self.assertEqual(f"1.{member}", self.fault(**{member: value})[0], value)
        members: list[tuple[str, Any, str]] = [
            ("pause", {"mode": "later"}, "pause.mode"),
            ("pause", {"clear": True}, "pause.clear"),
            ("sleep", {"level": -1}, "sleep.level"),
            ("load-adapter", {"name": "a", "path": ""}, "load-adapter.path"),
            ("load-adapter", {"name": "a", "path": "/a", "rank": 8}, "load-adapter.rank"),
            ("set", {"time-to-first-token": "-1s"}, "set.time-to-first-token"),
            ("set", {"seed": 3}, "set.seed"),
            ("set", {"time-to-frst-token": 3}, "set.time-to-frst-token"),
        ]
        for member, value, path in members:
            faults = self.faults({"at": "0s", member: value})
            self.assertIn(f"1.{path}", [name for name, _ in faults], value)

    def test_wrong_ramps(self) -> None:
        """Only numbers that can change live can be ramped, in a time that is said."""
        for ramp, member in (
            ({"seed": 5}, "1.ramp.seed"),
            ({"mode": "echo"}, "1.ramp.mode"),
            ({"latency-calculator": "constant"}, "1.ramp.latency-calculator"),
            ({"failure-types": ["rate_limit"]}, "1.ramp.failure-types"),
            ({"inter-token-latency": "fast"}, "1.ramp.inter-token-latency"),
            ({"inter-token-latency": []}, "1.ramp.inter-token-latency"),
            ({"inter-token-latency": [1, 2, 3]}, "1.ramp.inter-token-latency"),
            ({"inter-token-latency": {"from": 1}}, "1.ramp.inter-token-latency"),
            ({"failure-injection-rate": [0, 101]}, "1.ramp.failure-injection-rate"),
            ({"kv-pressure": 2}, "1.ramp.kv-pressure"),
            ({"inter-token-latency": 1, "inter_token_latency": 2}, "1.ramp.inter_token_latency"),
            ({}, "1.ramp"),
            ([], "1.ramp"),
        ):
            self.assertEqual(member, self.fault(ramp=ramp, over="1s")[0], ramp)
        self.assertEqual("1.over", self.fault(ramp={"inter-token-latency": 1})[0])
        self.assertEqual("1.over", self.fault(over="1s", ready=True)[0])
        self.assertEqual("1.over", self.fault(ramp={"inter-token-latency": 1}, over="0s")[0])

    def test_contradictions(self) -> None:
        """A step cannot do two things that do not go together."""
        for members, member in (
            ({"pause": True, "resume": True}, "1.pause"),
            ({"sleep": 1, "wake-up": True}, "1.sleep"),
            ({"kv-pressure": 0.5, "ramp": {"kv-pressure": 1}, "over": "1s"}, "1.ramp.kv-pressure"),
            (
                {"set": {"inter_token_latency": 1}, "ramp": {"inter-token-latency": 2}, "over": "1s"},
                "1.ramp.inter-token-latency",
            ),
        ):
            self.assertEqual(member, self.fault(**members)[0])

    def test_nothing(self) -> None:
        """A step that does nothing, and says nothing, is a mistake."""
        self.assertEqual([("1.at", "is all that the step has")], self.faults({"at": "1s"}))
        self.assertEqual([("1", "must be a map")], self.faults("x"))
        self.assertIn(("1.at", "is missing"), self.faults({"ready": True}))

    def test_unknown(self) -> None:
        """What is not known is named, with what it may have been meant to be."""
        member, fault = self.fault(kv_presure=0.5)
        self.assertEqual("1.kv-presure", member)
        self.assertTrue(fault.endswith("; did you mean kv-pressure?"), fault)
