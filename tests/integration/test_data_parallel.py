"""Data-parallel ranks in one process, asked by the official OpenAI SDK."""

import re
import subprocess
import sys
from urllib.request import urlopen

import openai

from tests.integration.daemon import PATIENCE, ROOT, Daemon, DaemonsTestCase, free_port

RANKS = ("--data-parallel-size", "2", "--inter-token-latency", "10ms")


class DataParallelTests(DaemonsTestCase):
    """Which rank serves a request."""

    def client(self, port: int) -> openai.OpenAI:
        """Make a client that does not retry."""
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="x", max_retries=0)
        self.addCleanup(client.close)
        return client

    def ask(self, client: openai.OpenAI, rank: int | None = None) -> int:
        """Stream a completion, from a rank if one is named.

        :return: how many pieces came.
        """
        stream = client.completions.create(
            model="Qwen/Qwen3-0.6B",
            prompt="Hello",
            max_tokens=5,
            stream=True,
            extra_headers={} if rank is None else {"X-data-parallel-rank": str(rank)},
            extra_body={"ignore_eos": True},
        )
        return sum(1 for _ in stream)

    def served(self, port: int) -> dict[str, int]:
        """Count the prompts that the ranks of a port have served."""
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as page:
            text = page.read().decode()
        samples = re.findall(r'^vllm:request_params_n_count{engine="(\d+)".*} (.+)$', text, re.MULTILINE)
        return {engine: int(float(value)) for engine, value in samples}

    def stop(self, daemon: Daemon) -> str:
        """Stop a server in order.

        :return: what it has logged.
        """
        self.assertEqual(0, daemon.stop())
        self.assertNotIn("Traceback", daemon.output())
        return daemon.output()

    def test_ports(self) -> None:
        """With a port for each rank a request goes to the port's own, or to the one that it names."""
        daemon = self.start(*RANKS, port=free_port(2))
        daemon.wait()
        first, second = (self.client(daemon.port + number) for number in (0, 1))
        pieces = [self.ask(first), self.ask(first, 1), self.ask(second, 1), self.ask(second)]
        self.assertEqual([5] * 4, pieces)
        self.assertEqual([{"0": 1}, {"1": 3}], [self.served(daemon.port + number) for number in (0, 1)])
        error = self.assertRaises(openai.BadRequestError, self.ask, first, 2)
        self.assertIn("data_parallel_rank 2 is out of range [0, 2).", str(error))
        self.assertIn("Ranks 0 to 1 have a port each; with data-parallel-internal-lb", self.stop(daemon))

    def test_one_port(self) -> None:
        """With one port the ranks take turns, and the header pins; the example shows that."""
        daemon = self.start(*RANKS, "--data-parallel-internal-lb")
        daemon.wait()
        client = self.client(daemon.port)
        for rank in (None, None, 1, None, 1):
            self.assertEqual(5, self.ask(client, rank))
        self.assertEqual({"0": 2, "1": 3}, self.served(daemon.port))
        example = str(ROOT / "examples" / "rank_header.py")
        command = [sys.executable, example, f"http://127.0.0.1:{daemon.port}"]
        told = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
        counts = [re.findall(r"'\d': (\d+)", line) for line in told.splitlines()]
        self.assertEqual([["2", "3"], ["2", "7"], ["4", "9"]], counts)
        self.assertIn("Ranks 0 to 1 have one port", self.stop(daemon))
