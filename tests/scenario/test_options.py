"""Options that scenarios change, where that takes time: ranks may be in processes of their own."""

import json
from collections.abc import Mapping
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from zope.interface import implementer

from tests.fakes import in_thread
from tests.harness import EPOCH
from tests.scenario.test_player import BETWEEN, FIRST, ScenarioTestCase
from vllmsim.errors import Unavailable
from vllmsim.interfaces import IConfigurations
from vllmsim.scenario.options import ScenarioOptions
from vllmsim.scenario.player import Scenarios


@implementer(IConfigurations)
@define(eq=False)
class LateConfigurations:
    """Has others change the configurations, when the test says so.

    :param others: who does.
    """

    others: Any
    asked: list[tuple[Mapping[str, object], int | None, bool]] = field(factory=list)
    turns: list[Deferred[None]] = field(factory=list)

    async def change(
        self, values: Mapping[str, object], rank: int | None, who: str, *, step: bool = False, whole: bool = False
    ) -> None:
        """Wait, and have them changed."""
        self.asked.append((values, rank, whole))
        self.turns.append(Deferred())
        await self.turns[-1]
        await self.others.change(values, rank, who, step=step, whole=whole)

    def go_on(self) -> None:
        """Have the first of those that wait changed."""
        self.turns.pop(0).callback(None)

    async def describe(self, rank: int) -> Mapping[str, Any]:
        """Nobody asks."""
        raise AssertionError

    async def undo(self, who: str) -> None:
        """Nobody asks."""
        raise AssertionError

    async def history(self) -> Any:
        """Nobody asks."""
        raise AssertionError


class LateTests(ScenarioTestCase):
    """A rank whose configuration changes when the test says so."""

    def setUp(self) -> None:
        """Start it."""
        self.make_rank()
        self.late = LateConfigurations(self.configurations)
        scenarios = Scenarios(self.clock, ScenarioOptions(self.late), 7, lambda: EPOCH, in_thread)
        scenarios.enlist(self.scenarios._stages[0])
        self.scenarios = scenarios

    def test_one_after_the_other(self) -> None:
        """A step waits until the one before it is done, and comes then, at no other values than if it were in time."""
        self.begin(
            {"at": "0s", "set": {FIRST: "1s"}}, {"at": "1s", "ramp": {BETWEEN: [0, "1s"]}, "over": "4s"}, duration="9s"
        )
        self.wait(3)
        self.assertEqual((1, (0.0, 0.0)), (len(self.late.asked), self.latencies()))
        self.late.go_on()
        self.assertEqual([{FIRST: "1s"}, {BETWEEN: "0s"}], [values for values, _, _ in self.late.asked])
        self.late.go_on()
        self.late.go_on()
        self.assertEqual((1.0, 0.5), self.latencies())
        self.ask_to_stop()

    def test_stopped_meanwhile(self) -> None:
        """One that is stopped while something changes goes back when that has changed."""
        self.begin({"at": "0s", "set": {FIRST: "1s"}, "ready": False}, duration="9s")
        stopped = Deferred.fromCoroutine(self.scenarios.stop())
        self.assertNoResult(stopped)
        self.late.go_on()
        self.assertEqual((1.0, 0.0), self.latencies())
        self.assertEqual(({FIRST: "0s"}, None, True), self.late.asked[-1])
        self.late.go_on()
        self.assertTrue(self.successResultOf(stopped))
        self.assertEqual(((0.0, 0.0), True), (self.latencies(), self.rank.health.ready()))

    def test_replaced_meanwhile(self) -> None:
        """One that takes the place of another begins when that has gone back."""
        self.begin({"at": "0s", "set": {FIRST: "1s"}}, duration="9s")
        text = json.dumps({"name": "y", "steps": [{"at": "0s", "set": {BETWEEN: "1s"}}], "duration": "9s"}).encode()
        starting = Deferred.fromCoroutine(self.scenarios.start(text, json=True, rank=None, replace=True))
        for name in "xx":
            self.assertNoResult(starting)
            self.assertEqual(name, self.played()["name"])
            self.late.go_on()
        self.successResultOf(starting)
        self.assertEqual(({BETWEEN: "1s"}, None, False), self.late.asked[-1])
        self.late.go_on()
        self.assertEqual((0.0, 1.0), self.latencies())
        self.ask_to_stop()

    def ask_to_stop(self) -> None:
        """Stop what is played."""
        stopped = Deferred.fromCoroutine(self.scenarios.stop())
        self.late.go_on()
        self.successResultOf(stopped)

    def test_nobody_answers(self) -> None:
        """Where nobody answers, that is the trouble of the step; all else goes on, and goes back."""
        self.begin({"at": "0s", "set": {FIRST: "1s"}, "ready": False}, duration="2s")
        self.late.turns.pop(0).errback(Unavailable("The supervisor does not answer."))
        self.assertFalse(self.rank.health.ready())
        self.assertEqual("The supervisor does not answer.", self.played()["steps"][0]["trouble"])
        self.wait(3)
        self.assertEqual(("finished", True), (self.played()["outcome"], self.rank.health.ready()))

    def test_nobody_answers_in_the_end(self) -> None:
        """Where nobody answers in the end options stay as they are, and all else goes back."""
        self.begin({"at": "0s", "set": {FIRST: "1s", BETWEEN: "1s"}, "ready": False}, duration="2s")
        self.late.go_on()
        self.wait(3)
        self.late.turns.pop(0).errback(Unavailable("The supervisor does not answer."))
        self.assertEqual([], self.late.turns)
        self.assertEqual(((1.0, 1.0), True), (self.latencies(), self.rank.health.ready()))
        self.assertEqual("finished", self.played()["outcome"])


class EachRankTests(ScenarioTestCase):
    """Two ranks."""

    def test_restored_apart(self) -> None:
        """What cannot go back on one rank goes back on the other."""
        self.make_ranks("-dp", "2", "--inter-token-latency", "100ms", "--inter-token-latency-std-dev", "30ms")
        self.begin({"at": "0s", "set": {f"{BETWEEN}-std-dev": "1ms", FIRST: "1s"}}, duration="2s")
        self.wait(1)
        self.post("/admin/config?rank=1", {BETWEEN: "10ms"})
        self.wait(2)
        spreads = [live.current.inter_token_latency_std_dev for live in self.lives.values()]
        firsts = [live.current.time_to_first_token for live in self.lives.values()]
        self.assertEqual(([0.03, 0.001], [0.0, 0.0]), (spreads, firsts))
