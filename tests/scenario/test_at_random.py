"""Scenarios that nobody thought of."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.scenario.test_player import ScenarioTestCase

WORDS = (
    "--enable-kvcache", "--kv-cache-size", "65", "--max-model-len", "256", "--max-num-seqs", "3", "--enable-sleep-mode",
    "--lora-modules", "a=/a", "b=/b", "--inter-token-latency", "100ms", "--time-to-first-token", "200ms",
    "--fake-metrics", '{"running-requests": 3}',
)  # fmt: skip
NAMES = st.sampled_from(["a", "b", "c"])
SHARES = st.sampled_from([0, 0.3, 0.6, 1])
TIMES = st.sampled_from(["1ms", "50ms", "300ms", "2s"])
MINUTES = 10
"""How long those whose tokens are slow may take after it."""
RATES = st.integers(0, 100)
MEMBERS: dict[str, st.SearchStrategy[Any]] = {
    "set": st.fixed_dictionaries(
        {},
        optional={
            "time-to-first-token": TIMES,
            "failure-injection-rate": RATES,
            "max-num-seqs": st.integers(1, 5),
            "failure-rules": st.just([{"every": 2, "status": 503}]),
        },
    ),
    "ramp": st.dictionaries(st.sampled_from(["prefill-overhead", "inter-token-latency"]), TIMES, min_size=1),
    "fake-metrics": st.fixed_dictionaries({"waiting-requests": RATES}),
    "kv-pressure": SHARES,
    "load-adapter": st.builds(lambda name: {"name": name, "path": f"/{name}-2"}, NAMES),
    "unload-adapter": NAMES,
    "ready": st.booleans(),
    "healthy": st.booleans(),
    "reset-prefix-cache": st.just(value=True),
    "abort": st.just(value=True),
    "pause": st.sampled_from(["abort", "wait", "keep"]),
    "resume": st.just(value=True),
    "sleep": st.integers(0, 2),
    "wake-up": st.sampled_from([True, "weights"]),
}


@st.composite
def steps(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw some steps, each with a few members."""
    drawn, at = [], 0
    for _ in range(draw(st.integers(1, 8))):
        at += draw(st.integers(0, 3)) * 250
        names = draw(st.sets(st.sampled_from(sorted(MEMBERS)), min_size=1, max_size=4))
        step = {"at": f"{at}ms", **{name: draw(MEMBERS[name]) for name in sorted(names)}}
        if "pause" in step:
            step.pop("resume", None)
        if "sleep" in step:
            step.pop("wake-up", None)
        if "ramp" in step:
            step["over"] = f"{draw(st.integers(1, 8)) * 250}ms"
        drawn.append(step)
    return drawn


class RandomTests(SynchronousTestCase):
    """A rank under any of them, while clients come."""

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(steps(), st.booleans(), st.integers(0, 12), st.sampled_from([1, 2]))
    def test_as_it_was(self, drawn: list[dict[str, Any]], stops: bool, seconds: int, repeat: int) -> None:
        """Whatever happens, nothing goes wrong inside, all is as it was, and everyone is served, in the end."""
        test = ScenarioTestCase()
        test.make_rank(*WORDS)
        try:
            before = self.state(test)
            text = json.dumps({"name": "x", "steps": drawn, "duration": "6s", "repeat": repeat}).encode()
            starting = Deferred.fromCoroutine(test.scenarios.start(text, json=True, rank=None, replace=False))
            self.successResultOf(starting)
            for second in range(seconds if stops else 12):
                test.complete([second] * 40, max_tokens=30, model=[None, "a", "b"][second % 3])
                test.wait(1)
            test.stop()
            self.assertIn(test.played()["outcome"], {"stopped", "finished"})
            self.assertEqual(before, self.state(test))
            for _ in range(MINUTES):
                test.wait(60 if len(test.rank.backlog.sequences) else 0)
            self.assertEqual(0, len(test.rank.backlog.sequences))
            self.assertEqual([], test.get("/admin/config/history").json()["changes"])
        finally:
            test.clean_up()

    def state(self, test: ScenarioTestCase) -> Any:
        """Tell how all is."""
        models = {model["id"]: model["root"] for model in test.get("/v1/models").json()["data"]}
        control, health = test.rank.control, test.rank.health
        stage = test.scenarios._stages[0]
        switches = control.paused(), control.sleeping(), health.healthy, health.willing, stage.pressure
        return test.live.current, models, switches
