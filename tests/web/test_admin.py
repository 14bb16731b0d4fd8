"""Administrators look at the configuration, and change it."""

import json
from typing import Any

from tests.harness import Exchange, RankTestCase
from vllmsim.api.administration import MOST_BYTES


class ConfigurationTests(RankTestCase):
    """``/admin/config``."""

    def change(self, value: Any, query: str = "", **headers: str) -> Exchange:
        """Post values."""
        return self.post(f"/admin/config{query}", value, **headers)

    def refused(self, value: Any, query: str = "", **headers: str) -> str:
        """Post values that are refused, in OpenAI's shape and without changing anything."""
        before = self.live.current
        exchange = self.change(value, query, **headers)
        self.assertEqual(400, exchange.status)
        error = exchange.json()["error"]
        self.assertEqual(["message", "type", "param", "code"], list(error))
        self.assertEqual(400, error["code"])
        self.assertIs(before, self.live.current)
        return str(error["message"])

    def test_show(self) -> None:
        """The whole effective configuration is shown, sorted, durations as text and a large seed exact; no secrets."""
        self.make_rank("--seed", str(2**63 + 1), "--time-to-first-token", "1500", "--hf-token", "xyzzy")
        exchange = self.get("/admin/config")
        shown = exchange.json()
        self.assertEqual((200, "application/json"), (exchange.status, exchange.headers["content-type"]))
        self.assertEqual(sorted(shown), list(shown))
        self.assertEqual(
            ("1.5s", 2**63 + 1, 8000, 0),
            tuple(shown[n] for n in ("time-to-first-token", "seed", "port", "data-parallel-rank")),
        )
        self.assertNotIn("xyzzy", exchange.body.decode())

    def test_change(self) -> None:
        """A change answers with everything as it is then, and what was not named is as it was."""
        self.make_rank("--inter-token-latency", "3ms")
        before = self.get("/admin/config").json()
        exchange = self.change(
            {"time-to-first-token": "20ms", "failure-types": ["rate_limit"], "inter-token-latency": None}
        )
        expected = before | {"time-to-first-token": "20ms", "failure-types": ["rate_limit"]}
        self.assertEqual((200, expected), (exchange.status, exchange.json()))
        self.assertEqual(expected, self.get("/admin/config").json())
        self.assertEqual(0.02, self.live.current.time_to_first_token)

    def test_content_type(self) -> None:
        """It is read as JSON whatever its type, or what curl says of it, or nothing."""
        self.make_rank()
        for number, headers in enumerate(({}, {"Content_Type": "application/x-www-form-urlencoded"})):
            body = json.dumps({"failure-injection-rate": number}).encode()
            exchange = self.connect().send("POST", "/admin/config", body, **headers)
            self.assertEqual((200, number), (exchange.status, exchange.json()["failure-injection-rate"]))

    def test_no_object(self) -> None:
        """What is no JSON object is refused in llm-d-inference-sim's words."""
        self.make_rank()
        for body in (b"", b"{", b"[]", b"1", b'"x"', b"null", b"[" * 60000, b"\xff"):
            self.assertTrue(self.refused(body).startswith("failed to unmarshal payload: "), body)

    def test_wrong(self) -> None:
        """All that is wrong is in one message, and nothing is applied."""
        self.make_rank()
        said = self.refused(
            {"port": 9000, "failure-injection-rate": 150, "time-to-first-token": "x", "inter-token-latency": 5}
        )
        for words in (
            "field 'port' is not admin-configurable",
            "failure injection rate should be between 0 and 100",
            'field "time-to-first-token": ',
        ):
            self.assertIn(words, said)

    def test_real_metrics(self) -> None:
        """A server with real metrics does not fake them later."""
        self.make_rank()
        expected = "the simulator is reporting real metrics; fake metrics cannot be updated"
        self.assertEqual(expected, self.refused({"fake-metrics": {"running-requests": 1}}))

    def test_large(self) -> None:
        """A body that would take long to read is refused."""
        self.make_rank()
        exchange = self.change(b'{"failure-injection-rate": 1' + b" " * MOST_BYTES + b"}")
        self.assertEqual((413, "Request Entity Too Large"), (exchange.status, exchange.json()["error"]["type"]))

    def test_rank(self) -> None:
        """A rank may be named; one that is not there is refused."""
        self.make_rank()
        self.assertEqual("5ms", self.change({"inter-token-latency": 5}, "?rank=0").json()["inter-token-latency"])
        self.assertIn("There is no rank 1 here", self.refused({}, "?rank=1"))
        self.refused({}, "?rank=x")
        self.refused({}, "?rank=-1")
        self.assertEqual([200, 400, 400], [self.get(f"/admin/config?rank={n}").status for n in (0, 1, "x")])

    def test_undo(self) -> None:
        """The previous state is one call away; 409 when there is none."""
        self.make_rank()
        self.change({"inter-token-latency": 5})
        exchange = self.post("/admin/config/undo", b"")
        self.assertEqual((200, "0s"), (exchange.status, exchange.json()["inter-token-latency"]))
        exchange = self.post("/admin/config/undo", b"")
        self.assertEqual((409, "Conflict"), (exchange.status, exchange.json()["error"]["type"]))

    def test_history(self) -> None:
        """Who changed what and when is told, the latest first."""
        self.make_rank()
        self.assertEqual({"changes": []}, self.get("/admin/config/history").json())
        self.change({"inter-token-latency": 5})
        self.change({"latency-calculator": "constant"})
        changes = self.get("/admin/config/history").json()["changes"]
        self.assertEqual(
            ["latency-calculator", "inter-token-latency"], [each["changes"][0]["option"] for each in changes]
        )
        self.assertEqual("192.168.1.1:54321", changes[0]["who"])

    def test_many(self) -> None:
        """What is not JSON's usual fare is answered as well as any."""
        self.make_rank()
        values: tuple[Any, ...] = (10**30, -(10**30), 1e308, True, [], {}, "", "\ud800")
        for value in values:
            for name in (
                "failure-injection-rate",
                "time-factor-under-load",
                "inter-token-latency",
                "failure-types",
                "\ud800",
            ):
                exchange = self.change(json.dumps({name: value}).encode())
                self.assertIn(exchange.status, {200, 400})

    def test_no_value(self) -> None:
        """An option that has no value unless one is given loses it again."""
        self.make_rank("--max-num-queued-reqs", "3")
        self.assertEqual(5, self.change({"max-num-queued-reqs": 5}).json()["max-num-queued-reqs"])
        self.assertEqual(5, self.change({"max-num-queued-reqs": None}).json()["max-num-queued-reqs"])
        self.assertIs(None, self.change({"max-num-queued-reqs": "none"}).json()["max-num-queued-reqs"])
