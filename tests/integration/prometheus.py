"""Prometheus as a process, on a free port of this machine."""

import json
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.integration.daemon import free_port


class Prometheus:
    """A running Prometheus that scrapes some ports of this machine.

    :param folder: where it writes.
    :param interval: time between scrapes, and between evaluations of rules, as Prometheus writes it.
    :param rules: files of rules.
    :param jobs: further things to scrape, as its configuration has them.
    """

    def __init__(
        self,
        folder: str,
        interval: str,
        *ports: int,
        rules: Sequence[Path] = (),
        jobs: Sequence[dict[str, Any]] = (),
    ) -> None:
        self.port = free_port()
        config = Path(folder, "prometheus.yml")
        own = {"job_name": "vllm", "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in ports]}]}
        times = {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval}
        whole = {"global": times, "rule_files": [str(each) for each in rules], "scrape_configs": [own, *jobs]}
        config.write_text(json.dumps(whole))
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/data",
             f"--web.listen-address=127.0.0.1:{self.port}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def ask(self, path: str, **arguments: object) -> list[Any]:
        """Ask its API; nothing while it starts."""
        address = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(arguments)}"
        try:
            with urllib.request.urlopen(address, timeout=5) as response:
                return list(json.load(response)["data"]["result"])
        except OSError:
            return []

    def wait_for(self, query: str, expected: str) -> str | None:
        """Ask for a value until it is the expected one, or for 20 s."""
        value: str | None = None
        for _ in range(100):
            result = self.ask("query", query=query)
            value = result[0]["value"][1] if result else None
            if value == expected:
                break
            time.sleep(0.2)
        return value

    def series(self, query: str, start: float, end: float, step: float) -> dict[float, float]:
        """Ask for the values of a query in a range, by the time for which they are."""
        [series] = self.ask("query_range", query=query, start=start, end=end, step=step)
        return {float(at): float(value) for at, value in series["values"]}

    def stop(self) -> None:
        """Stop it."""
        self.process.terminate()
        self.process.wait(20)
