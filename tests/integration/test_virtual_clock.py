"""A daemon whose time is moved over HTTP, and one whose time goes faster than the machine's."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.request import Request, urlopen

from twisted.trial.unittest import SynchronousTestCase

from bench.servers import free_ports
from bench.virtual import MODELS, Run, live_through
from tests.integration.daemon import PATIENCE, ROOT, Daemon, DaemonsTestCase

PACE = ("--time-to-first-token", "200ms", "--inter-token-latency", "20ms")


def ask(daemon: Daemon, path: str, **body: Any) -> Any:
    """Send JSON, and wait for the answer."""
    request = Request(daemon.url(path), json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=PATIENCE) as answer:
        return json.load(answer)


class SameAgainTests(SynchronousTestCase):
    """What ``python -m bench virtual`` does, with fewer requests."""

    def test_same(self) -> None:
        """With each scheduling model two servers that get the same requests at the same times say the same of them."""
        for model in MODELS:
            [port] = free_ports()
            first, second = (live_through(model, port, None, 150, 6.0) for _ in range(2))
            self.assertIn(b'"total":150,', first.journal)
            self.assertGreater(first.connections, 5)
            self.assertEqual([], first.other(second))

    def test_other(self) -> None:
        """What is not the same is named."""
        run = Run(1.0, 1.0, 1.0, 2.0, 3, {0: "a"}, b"journal", ["metric 1"])
        self.assertEqual([], run.other(Run(9.0, 9.0, 9.0, 2.0, 9, {0: "a"}, b"journal", ["metric 1"])))
        other = Run(1.0, 1.0, 1.0, 2.5, 3, {0: "b"}, b"", ["metric 2"])
        self.assertEqual(["virtual", "answers", "journal", "metrics"], run.other(other))


class DaemonTests(DaemonsTestCase):
    """Daemons of their own."""

    def test_example(self) -> None:
        """The example sends requests in virtual time, and they take the time that was asked for."""
        daemon = self.start("--clock", "virtual", "--seed", "1", *PACE)
        daemon.wait()
        command = [sys.executable, str(ROOT / "examples" / "virtual_clock.py")]
        environment = {**os.environ, "VLLMSIM_URL": daemon.url()}
        said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout
        lines = said.splitlines()
        self.assertEqual("  1 tokens in 0.200 s", lines[0])
        self.assertEqual(11, len(lines))
        self.assertRegex(lines[-1], r"^It is 0\.\d+ s on the clock\.$")

    def test_stopped(self) -> None:
        """On SIGTERM requests that wait for time to be moved are answered, and the daemon ends in good order."""
        daemon = self.start("--clock", "virtual", *PACE)
        daemon.wait()
        with ThreadPoolExecutor(1) as threads:
            answer = threads.submit(ask, daemon, "/v1/completions", prompt="x", max_tokens=5, ignore_eos=True)
            ask(daemon, "/admin/clock/advance", seconds=0.1, requests=1)
            self.assertFalse(answer.done())
            self.assertEqual(0, daemon.stop())
            self.assertEqual(5, answer.result()["usage"]["completion_tokens"])

    def test_faster(self) -> None:
        """A minute of simulated time is over in a fraction of it, and the journal tells of the minute."""
        daemon = self.start("--time-scale", "500", "--time-to-first-token", "10s", "--inter-token-latency", "5s")
        daemon.wait()
        ask(daemon, "/v1/completions", prompt="x", max_tokens=11, ignore_eos=True)
        [record] = json.loads(daemon.get("/admin/requests"))["requests"]
        self.assertGreaterEqual(record["times"]["last_token"], 60.0)
        self.assertLess(record["times"]["first_token"], record["times"]["last_token"] - 45.0)
        self.assertEqual(500.0, json.loads(daemon.get("/admin/clock"))["time_scale"])
