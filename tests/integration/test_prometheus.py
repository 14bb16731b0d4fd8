"""Prometheus itself, where it is installed."""

import json
import math
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable
from tempfile import TemporaryDirectory
from unittest import skipUnless

from attrs import frozen

from tests.integration.daemon import Daemon, DaemonTestCase, free_port
from tests.integration.prometheus import Prometheus

SECONDS = float(os.environ.get("PROMETHEUS_SECONDS", "6"))
"""How long it scrapes fake functions; give it 60 for a minute of them."""
PERIOD = SECONDS / 3


@frozen
class Faked:
    """A metric that follows a function.

    :param rank: which rank shows it.
    :param member: its name among fake metrics.
    :param curve: where it is between start and end, from 0 to 1, after so many periods.
    """

    rank: int
    member: str
    name: str
    function: str
    start: float
    end: float
    curve: Callable[[float], float]

    def between(self, first: float, last: float) -> tuple[float, float]:
        """Tell the least and the greatest value between two times, in seconds since the function was set."""
        times = [first + (last - first) * part / 50 for part in range(51)]
        values = [self.start + (self.end - self.start) * self.curve(max(0.0, at) / PERIOD) for at in times]
        return min(values), max(values)


FAKED = (
    Faked(0, "running-requests", "vllm:num_requests_running", "oscillate", 100, 2000,
          lambda turns: 0.5 + 0.5 * math.sin(math.tau * turns)),
    Faked(0, "waiting-requests", "vllm:num_requests_waiting", "ramp", 4000, 0, lambda turns: min(1, turns)),
    Faked(0, "kv-cache-usage", "vllm:kv_cache_usage_perc", "rampreset", 0.1, 1, lambda turns: turns - int(turns)),
    Faked(1, "running-requests", "vllm:num_requests_running", "squarewave", 10, 150,
          lambda turns: float(turns - int(turns) >= 0.5)),
)  # fmt: skip


class PrometheusTests(DaemonTestCase):
    """What Prometheus makes of ``/metrics``."""

    words = ("--model", "m", "--time-to-first-token", "1h")

    def prometheus(self, interval: str, *ports: int) -> Prometheus:
        """Start one for a test."""
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        prometheus = Prometheus(folder.name, interval, *ports)
        self.addCleanup(prometheus.stop)
        return prometheus

    @skipUnless(shutil.which("promtool"), "needs promtool")
    def test_promtool(self) -> None:
        """Its checker parses every line, and finds nothing but the colon that vLLM's names have."""
        done = subprocess.run(
            ["promtool", "check", "metrics"], input=self.daemon.get("/metrics"), capture_output=True, check=False
        )
        self.assertNotEqual(1, done.returncode, done.stderr)
        complaints = [line for line in (done.stdout + done.stderr).decode().splitlines() if "':'" not in line]
        known = ("counter metrics should have", "non-histogram", "iteration_tokens_total", "_created", "_info")
        self.assertEqual([], [line for line in complaints if not any(part in line for part in known)])

    @skipUnless(shutil.which("prometheus"), "needs prometheus")
    def test_scrape(self) -> None:
        """It scrapes the daemon and answers a query for a vLLM name with the value of now."""
        connection = self.raw(self.post("/v1/completions", b'{"prompt":"a"}'))
        prometheus = self.prometheus("1s", self.daemon.port)
        self.assertEqual("1", prometheus.wait_for("vllm:num_requests_running", "1"))
        self.assertEqual("0", prometheus.wait_for("vllm:generation_tokens_total", "0"))
        connection.close()

    @skipUnless(shutil.which("prometheus"), "needs prometheus")
    def test_functions(self) -> None:
        """What it stores of fake metrics follows each function within 2 %, from the moment it was set."""
        port = free_port(2)
        daemon = self.start(
            "--config", "examples/fake_metrics.yaml", "--fake-metrics-refresh-interval", "5ms",
            "--data-parallel-size", "2", port=port,
        )  # fmt: skip
        daemon.wait()
        prometheus = self.prometheus("200ms", port, port + 1)
        self.assertEqual("2", prometheus.wait_for("sum(up)", "2"))
        began = [self.fake(daemon, rank) for rank in (0, 1)]
        time.sleep(SECONDS)
        end = time.time()
        # A scrape that has begun by then is stored a little later.
        time.sleep(0.5)
        for faked in FAKED:
            labels = f'{{instance="127.0.0.1:{port + faked.rank}"}}'
            arguments = began[faked.rank][1] + 0.2, end, 0.2
            values = prometheus.series(faked.name + labels, *arguments)
            scraped = prometheus.series(f"timestamp({faked.name}{labels})", *arguments)
            took = prometheus.series(f"scrape_duration_seconds{labels}", *arguments)
            after = {at: value for at, value in values.items() if scraped[at] > began[faked.rank][1]}
            self.assertGreater(len({scraped[at] for at in after}), SECONDS)
            for at, value in after.items():
                # The daemon looked between the scrape's begin, which is its time, and its end; 2 ms are Prometheus's
                # own liberty with times, and 5 ms the refresh interval.
                first = scraped[at] - 0.007 - began[faked.rank][1]
                last = scraped[at] + 0.002 + took[at] - began[faked.rank][0]
                low, high = faked.between(first, last)
                leeway = 0.02 * abs(faked.end - faked.start)
                self.assertTrue(low - leeway <= value <= high + leeway, f"{faked}: {value} after {first} to {last} s")
            span = max(after.values()) - min(after.values())
            self.assertGreater(span, 0.5 * abs(faked.end - faked.start), faked)

    def fake(self, daemon: Daemon, rank: int) -> tuple[float, float]:
        """Have a rank follow its functions.

        :return: the times between which it began.
        """
        members = {
            each.member: f"{each.function}:{each.start}:{each.end}:{PERIOD}s" for each in FAKED if each.rank == rank
        }
        request = urllib.request.Request(daemon.url(f"/fake_metrics?rank={rank}"), json.dumps(members).encode())
        request.add_header("Content-Type", "application/json")
        before = time.time()
        with urllib.request.urlopen(request, timeout=5) as response:
            self.assertEqual(204, response.status)
        return before, time.time()
