"""Prometheus itself, where it is installed."""

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import skipUnless

from tests.integration.daemon import DaemonTestCase, free_port


class PrometheusTests(DaemonTestCase):
    """What Prometheus makes of ``/metrics``."""

    words = ("--model", "m", "--time-to-first-token", "1h")

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
        port = free_port()
        with TemporaryDirectory() as folder:
            config = Path(folder, "prometheus.yml")
            target = {"targets": [f"127.0.0.1:{self.daemon.port}"]}
            jobs = [{"job_name": "vllm", "static_configs": [target]}]
            config.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}))
            server = subprocess.Popen(
                ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/data",
                 f"--web.listen-address=127.0.0.1:{port}"],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            try:
                self.assertEqual("1", self.query(port, "vllm:num_requests_running", "1"))
                self.assertEqual("0", self.query(port, "vllm:generation_tokens_total", "0"))
            finally:
                server.terminate()
                server.wait(20)
        connection.close()

    def query(self, port: int, name: str, expected: str) -> str | None:
        """Ask for a value until it is the expected one, or for 20 s."""
        address = f"http://127.0.0.1:{port}/api/v1/query?query={urllib.parse.quote(name)}"
        value: str | None = None
        for _ in range(100):
            try:
                with urllib.request.urlopen(address, timeout=5) as response:
                    result: list[Any] = json.load(response)["data"]["result"]
            except OSError:
                result = []
            value = result[0]["value"][1] if result else None
            if value == expected:
                break
            time.sleep(0.2)
        return value
