"""Scenarios, as operators start and stop them."""

import json
from typing import Any

from pydantic import TypeAdapter
from twisted.logger import capturedLogs, formatEvent

from tests.harness import Exchange, RankTestCase
from vllmsim.api.shapes.scenarios import ScenarioState

YAML = "application/yaml"
TEXT = b"""
name: night
seed: 3
duration: 4s
steps:
  - {at: 0s, set: {time-to-first-token: 1s}}
  - {at: 2s, ready: false}
"""


class ScenarioRoutesTests(RankTestCase):
    """The routes."""

    def setUp(self) -> None:
        """Start a rank."""
        self.make_rank()

    def start(self, text: bytes = TEXT, query: str = "", kind: str = YAML) -> Exchange:
        """Send a scenario."""
        return self.connect().send("POST", f"/admin/scenario{query}", text, Content_Type=kind)

    def state(self) -> Any:
        """Ask what is played."""
        return self.get("/admin/scenario").json()

    def test_life(self) -> None:
        """A scenario is started, looked at and stopped; each answer says what is played."""
        self.assertEqual({"running": False, "scenario": None}, self.state())
        started = self.start()
        self.assertEqual(
            (200, "night", True), (started.status, started.json()["scenario"]["name"], started.json()["running"])
        )
        self.assertEqual(started.json(), self.state())
        TypeAdapter(ScenarioState).validate_json(started.body)
        self.clock.pump([1, 0.5])
        self.assertEqual({"step": 2, "in": 0.5}, self.state()["scenario"]["next"])
        stopped = self.connect().send("DELETE", "/admin/scenario")
        self.assertEqual((200, False), (stopped.status, stopped.json()["running"]))
        self.assertEqual(("stopped", 1.5), (self.state()["scenario"]["outcome"], self.state()["scenario"]["elapsed"]))
        self.assertEqual(0.0, self.live.current.time_to_first_token)

    def test_secrets(self) -> None:
        """Keys that a scenario sets are keys, and nobody is shown them, by whatever name it calls them."""
        text = json.dumps(
            {
                "name": "keys",
                "duration": "4s",
                "steps": [
                    {"at": "0s", "set": {"api_key": ["hunter2"], "time-to-first-token": "1s"}},
                    {"at": "1s", "set": {"tenants": {"t": {"keys": ["hunter2b"]}}}},
                ],
            }
        )
        with capturedLogs() as events:
            started = self.start(text.encode(), kind="application/json")
            self.assertEqual(200, started.status, started.body)
            self.clock.pump([1, 1])
            self.assertEqual(("hunter2",), self.live.current.api_key)
            shown = self.get("/admin/scenario")
        told = shown.json()["scenario"]
        [first, _] = told["steps"]
        self.assertEqual({"set": {"api_key": "***", "time-to-first-token": "1s"}}, first["does"])
        self.assertEqual(
            {"api-key": "***", "tenants": "***", "time-to-first-token": "1s"}, shown.json()["scenario"]["changed"]["0"]
        )
        self.assertNotIn("hunter2", str([started.body, shown.body, *map(formatEvent, events)]))

    def test_stop(self) -> None:
        """It is stopped by POST too, and when none is played there is none."""
        for stop in (
            lambda: self.connect().send("DELETE", "/admin/scenario"),
            lambda: self.post("/admin/scenario/stop", b""),
        ):
            self.start()
            self.assertEqual([200, 404], [stop().status, stop().status])
        self.assertEqual("No scenario is played.", stop().json()["error"]["message"])

    def test_json(self) -> None:
        """It may come as JSON, as YAML, or without a type."""
        body = {"name": "day", "steps": [{"at": "1s", "ready": False}]}
        self.assertEqual("day", self.post("/admin/scenario", body).json()["scenario"]["name"])
        self.assertEqual(200, self.start(query="?replace=true", kind="application/x-www-form-urlencoded").status)
        self.assertEqual(200, self.connect().send("POST", "/admin/scenario?replace=1", TEXT).status)
        self.assertEqual("night", self.state()["scenario"]["name"])

    def test_one_at_a_time(self) -> None:
        """While one is played another is refused, unless it is to replace it."""
        self.start()
        refused = self.start(TEXT.replace(b"night", b"day"))
        self.assertEqual((409, "Conflict"), (refused.status, refused.json()["error"]["type"]))
        self.assertEqual(200, self.start(TEXT.replace(b"night", b"day"), "?replace=true").status)
        self.assertEqual("day", self.state()["scenario"]["name"])

    def test_wrong(self) -> None:
        """What is wrong is told, all of it, and nothing is played."""
        for text, query, kind, words in (
            (TEXT.replace(b"ready", b"redy"), "", YAML, "1 problem in the scenario: step 2, redy: is none of"),
            (
                TEXT.replace(b"2s", b"2").replace(b"night", b""),
                "",
                YAML,
                "2 problems in the scenario: step 2, at: ",
            ),
            (TEXT, "", "application/json", "This is no scenario: it is not JSON"),
            (b"[", "", YAML, "This is no scenario: it is not YAML"),
            (b"", "", YAML, "This is no scenario: a scenario must be a map"),
            (b"x" * 300_000, "", YAML, "at most 131072 are allowed"),
            (TEXT, "?rank=3", YAML, "rank: 3 is none of this server's, which has 0"),
            (TEXT, "?rank=-1", YAML, "greater than or equal to 0"),
            (TEXT, "?replace=perhaps", YAML, "valid boolean"),
            (TEXT, "", "image/png", "a scenario is YAML or JSON"),
        ):
            refused = self.start(text, query, kind)
            self.assertEqual(400, refused.status, words)
            self.assertIn(words, refused.json()["error"]["message"])
        self.assertEqual({"running": False, "scenario": None}, self.state())

    def test_hostile(self) -> None:
        """No text brings the server down."""
        for text in (
            b"a: &a [*a]",
            b"[" * 3_000,
            b"{" * 3_000,
            b"- " * 10_000,
            b"x: !!python/object/apply:os.system [ls]",
            b"\x00\xff\xfe",
            b'name: "\\ud800"\nsteps: [{at: 0s, note: "\\udfff", abort: true}]',
            b"&a a: &b b\n*a : *b",
            b"name: x\nseed: " + b"9" * 5000 + b"\nsteps: []",
            b"name: x\nsteps: [{at: 0s, set: {failure-injection-rate: " + b"9" * 4000 + b"}}]",
            b"name: x\nsteps: [{at: 1e400s, abort: true}]",
        ):
            self.assertIn(self.start(text, "?replace=true").status, {200, 400}, text[:30])

    def test_large_seed(self) -> None:
        """A seed may be larger than 64 bits can say."""
        self.start(TEXT.replace(b"seed: 3", b"seed: 18446744073709551616"))
        self.assertEqual(1 << 64, self.state()["scenario"]["seed"])
