"""Daemons whose time is moved over HTTP."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.request import Request, urlopen

from twisted.trial.unittest import SynchronousTestCase

from bench.servers import free_ports
from bench.virtual import Run, live_through
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
        """Two servers that get the same requests at the same times say the same of them, whose steps are drawn."""
        [port] = free_ports()
        first, second = (live_through("step", port, None, 150, 6.0) for _ in range(2))
        self.assertIn(b'"total":150,', first.journal)
        self.assertGreater(first.connections, 3)
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
        """The example sends requests in virtual time, and they take the time that was asked for.

        On SIGTERM requests that wait for time to be moved are answered, and the daemon ends in good order.
        """
        daemon = self.start("--clock", "virtual", "--seed", "1", *PACE)
        daemon.wait()
        command = [sys.executable, str(ROOT / "examples" / "virtual_clock.py")]
        environment = {**os.environ, "VLLMSIM_URL": daemon.url()}
        said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout
        lines = said.splitlines()
        self.assertEqual("  1 tokens in 0.200 s", lines[0])
        self.assertEqual(11, len(lines))
        self.assertRegex(lines[-1], r"^It is 0\.\d+ s on the clock\.$")
        with ThreadPoolExecutor(1) as threads:
            answer = threads.submit(ask, daemon, "/v1/completions", prompt="x", max_tokens=5, ignore_eos=True)
            ask(daemon, "/admin/clock/advance", seconds=0.1, requests=11)
            self.assertFalse(answer.done())
            self.assertEqual(0, daemon.stop())
            self.assertEqual(5, answer.result()["usage"]["completion_tokens"])
