"""The same scenario twice on a running daemon."""

import json
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.integration.daemon import Daemon, DaemonTestCase, free_port

SCENARIO = """
name: twice
seed: 11
duration: 30s
steps:
  - {at: 0s, set: {time-to-first-token: 80ms, time-to-first-token-std-dev: 20ms, inter-token-latency: 5ms}}
  - {at: 700ms, set: {failure-injection-rate: 50}, load-adapter: {name: poet, path: /poet}}
  - {at: 700ms, kv-pressure: 0.8}
"""


class TwiceTests(DaemonTestCase):
    """A daemon of two slots, with a KV cache."""

    words = (
        "--seed",
        "1",
        "--enable-kvcache",
        "--kv-cache-size",
        "129",
        "--max-model-len",
        "256",
        "--max-num-seqs",
        "2",
    )

    def ask(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> Any:
        """Send a request, and read the JSON of the answer, whatever its status."""
        request = urllib.request.Request(self.daemon.url(path), body, {"Content-Type": kind}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return json.loads(response.read())
        except urllib.error.HTTPError as error:
            return json.loads(error.read())

    def chat(self, number: int, model: str | None = None) -> None:
        """Ask something."""
        message = {"role": "user", "content": f"hello {number}"}
        body = {"messages": [message], "max_tokens": 12, "request_id": f"r{number}", "model": model}
        self.ask("POST", "/v1/chat/completions", json.dumps(body).encode())

    def play(self) -> list[Any]:
        """Begin the scenario, send the same requests, stop it, and tell what the journal says of them."""
        told = self.ask("POST", "/admin/scenario", SCENARIO.encode(), "application/yaml")
        before = told["scenario"]["requests_before"]["0"]
        begun = time.monotonic()
        # One after the other, as it makes a difference to latencies who runs at the same time.
        for number in range(3):
            self.chat(number)
        time.sleep(max(0.0, begun + 1.0 - time.monotonic()))
        with ThreadPoolExecutor(1) as threads:
            list(threads.map(self.chat, range(3, 15), ["poet", None] * 6))
        told = self.ask("DELETE", "/admin/scenario")
        self.assertEqual(
            ("stopped", {None}), (told["scenario"]["outcome"], {s["trouble"] for s in told["scenario"]["steps"]})
        )
        return list(self.ask("GET", f"/admin/requests?after={before}")["requests"])

    def test_same(self) -> None:
        """Ids, outcomes, tokens, finish reasons and planned times are the same, and the server is as it was."""
        options = self.ask("GET", "/admin/config")
        plays = [self.play() for _ in range(2)]
        names = "id", "outcome", "status", "error", "fault", "model", "generated_tokens", "choices", "cached_tokens"
        first, second = (
            [{name: each[name] for name in (*names, "planned_time_to_first_token")} for each in play] for play in plays
        )
        self.assertEqual(first, second)
        self.assertEqual(15, len(first))
        planned = [each["planned_time_to_first_token"] for each in first[:3]]
        self.assertEqual(3, len(set(planned)))
        for play in plays:
            for each in play[:3]:
                lasted = each["times"]["first_token"] - each["times"]["started"]
                self.assertTrue(-0.01 < lasted - each["planned_time_to_first_token"] < 1)
        self.assertEqual({"completed", "injected"}, {each["outcome"] for each in first})
        self.assertEqual(options, self.ask("GET", "/admin/config"))
        self.assertEqual([], self.ask("GET", "/admin/config/history")["changes"])


class ProcessesTests(DaemonTestCase):
    """Two ranks, each with a process of its own."""

    @classmethod
    def setUpClass(cls) -> None:
        """Start them on ports that are free, with that of the supervisor behind them."""
        port = free_port(3)
        words = "--seed", "1", "-dp", "2", "-dpm", "--data-parallel-supervisor-port", str(port + 2)
        cls.daemon = Daemon(*words, port=port)
        cls.addClassCleanup(cls._stop)
        cls.daemon.wait()

    def ask(self, method: str, path: str, rank: int, body: bytes | None = None) -> Any:
        """Send a request to a rank."""
        url = f"http://127.0.0.1:{self.daemon.port + rank}{path}"
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.loads(response.read())

    def listens(self, rank: int) -> bool:
        """Tell whether a rank does."""
        try:
            self.ask("GET", "/health", rank)
        except OSError:
            time.sleep(0.05)
            return False
        return True

    def test_one(self) -> None:
        """What is begun at a rank's port is played on that rank, through the supervisor, and goes back there."""
        step = {"at": "0s", "set": {"inter-token-latency": "7ms"}}
        text = json.dumps({"name": "x", "duration": "1m", "steps": [step]}).encode()
        deadline = time.monotonic() + 20
        while not self.listens(1):
            self.assertLess(time.monotonic(), deadline)
        self.assertEqual([1], self.ask("POST", "/admin/scenario", 1, text)["scenario"]["ranks"])
        while not self.ask("GET", "/admin/scenario", 1)["scenario"]["changed"]["1"]:
            self.assertLess(time.monotonic(), deadline)
        # Either rank tells of both.
        shown = [self.ask("GET", f"/admin/config?rank={rank}", 0)["inter-token-latency"] for rank in range(2)]
        self.assertEqual(["0s", "7ms"], shown)
        self.assertFalse(self.ask("DELETE", "/admin/scenario", 1)["running"])
        self.assertEqual("0s", self.ask("GET", "/admin/config?rank=1", 1)["inter-token-latency"])
        self.assertEqual([], self.ask("GET", "/admin/config/history", 0)["changes"])
