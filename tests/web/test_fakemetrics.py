"""``POST /fake_metrics``."""

import json
from typing import Any

from tests.harness import Exchange, RankTestCase

LABELS = '{engine="0",model_name="Qwen/Qwen3-0.6B"}'
REAL = "the simulator is reporting real metrics; fake metrics cannot be updated"


class FakeMetricsTests(RankTestCase):
    """Changing what is faked."""

    def change(self, members: Any, query: str = "") -> Exchange:
        """Post members."""
        return self.post(f"/fake_metrics{query}", members)

    def value(self, name: str) -> float:
        """Read a value."""
        return self.sample(f"vllm:{name}{LABELS}")

    def refused(self, members: Any, query: str = "") -> str:
        """Post members that are refused, in OpenAI's shape and without changing anything."""
        before = self.live.current
        exchange = self.change(members, query)
        error = exchange.json()["error"]
        self.assertEqual((400, 400, "BadRequestError"), (exchange.status, error["code"], error["type"]))
        self.assertIs(before, self.live.current)
        return str(error["message"])

    def test_change(self) -> None:
        """The answer is 204 without a body, and the page shows the new values at once; the others stay."""
        self.make_rank("--fake-metrics", json.dumps({"running-requests": 7, "waiting-requests": 3}))
        exchange = self.change({"waiting-requests": "ramp:0:10:1s", "request-prompt-tokens": [10, 20, 30]})
        self.assertEqual((204, b""), (exchange.status, exchange.body))
        self.assertNotIn(b"content-length", exchange.raw.lower())
        self.assertNotIn(b"transfer-encoding", exchange.raw.lower())
        self.clock.advance(0.5)
        names = ("num_requests_running", "num_requests_waiting", "prompt_tokens_total")
        self.assertEqual([7, 5, 200], [self.value(name) for name in names])

    def test_same_connection(self) -> None:
        """Nothing follows the answer but the next one."""
        self.make_rank("--fake-metrics", "{}")
        exchange = self.connect()
        for _ in range(2):
            exchange.send("POST", "/fake_metrics", b'{"running-requests": 2}')
        self.assertEqual(2, exchange.raw.count(b"HTTP/1.1 204"))
        self.assertEqual(b"", exchange.raw.rpartition(b"\r\n\r\n")[2])

    def test_administered(self) -> None:
        """It is the way of /admin/config: that shows it, undoes it, and tells who did it."""
        self.make_rank("--fake-metrics", '{"running-requests": 7}')
        self.change({"running-requests": "squarewave:1:2:1m"})
        shown = self.get("/admin/config").json()["fake-metrics"]
        self.assertEqual({"running-requests": "squarewave:1:2:60s"}, shown)
        self.assertEqual(1, len(self.get("/admin/config/history").json()["changes"]))
        self.post("/admin/config/undo", b"")
        self.assertEqual(7, self.value("num_requests_running"))
        exchange = self.post("/admin/config", {"fake-metrics": {"loras": []}, "failure-injection-rate": 42})
        self.assertEqual((200, 42), (exchange.status, exchange.json()["failure-injection-rate"]))
        self.assertIn(b'running_lora_adapters="",', self.get("/metrics").body)

    def test_wrong(self) -> None:
        """What is wrong is named, behind llm-d-inference-sim's words, and nothing changes."""
        self.make_rank("--fake-metrics", '{"running-requests": 7}')
        for members, fault in (
            ({"running-requests": -1, "kv-cache-usage": 2}, "kv-cache-usage"),
            ({"bogus": 1}, "bogus"),
            ({"prefix-cache-hits": 1}, "prefix-cache-queries"),
            ({"running-requests": "foo:1:2:3s"}, "squarewave"),
            ({"request-success-total": {"never": 1}}, "never"),
            ({"request-prompt-tokens": [10**30]}, "request-prompt-tokens[0]"),
            ([], "failed to unmarshal payload"),
            (b"{", "failed to unmarshal payload"),
        ):
            message = self.refused(members)
            self.assertTrue(message.startswith("Failed to update fake metrics: "), message)
            self.assertIn(fault, message)
        self.assertEqual(7, self.value("num_requests_running"))

    def test_large(self) -> None:
        """A body that would take long to read is refused."""
        self.make_rank("--fake-metrics", "{}")
        self.assertEqual(413, self.change(b'{"running-requests": 1' + b" " * 70000 + b"}").status)

    def test_real(self) -> None:
        """A server with real metrics does not fake them later."""
        self.make_rank()
        self.assertEqual(f"Failed to update fake metrics: {REAL}", self.refused({"running-requests": 1}))

    def test_rank(self) -> None:
        """A rank may be named; one that is not there is refused."""
        self.make_rank("--fake-metrics", "{}")
        self.assertEqual(204, self.change({"running-requests": 1}, "?rank=0").status)
        self.assertIn("There is no rank 1 here", self.refused({}, "?rank=1"))
