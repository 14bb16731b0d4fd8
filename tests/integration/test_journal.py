"""What the journal and the request log tell of a real client, and of a daemon that stops."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, cast
from urllib.request import Request, urlopen

import openai

from tests.integration.daemon import PATIENCE, ROOT, Daemon, DaemonTestCase, free_port

HI: Any = [{"role": "user", "content": "one two three"}]


def read(path: Path) -> list[dict[str, Any]]:
    """Read the lines of a request log, in the order in which their requests came."""
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
    return sorted(lines, key=lambda line: cast("int", line["number"]))


def await_(is_so: Callable[[], object]) -> None:
    """Wait until something is so."""
    begin = time.monotonic()
    while not is_so():
        if time.monotonic() - begin > PATIENCE:
            raise AssertionError("it took too long")
        time.sleep(0.02)


def listens(port: int) -> bool:
    """Tell whether somebody listens on a port."""
    with socket.socket() as connection:
        return not connection.connect_ex(("127.0.0.1", port))


class JournalTests(DaemonTestCase):
    """A daemon of one slot in which nobody waits, with a request log."""

    words: tuple[str, ...] = (
        "--model", "m", "--mode", "echo", "--max-num-seqs", "1", "--max-waiting-queue-length", "0",
        "--time-to-first-token", "150ms", "--inter-token-latency", "20ms",
    )  # fmt: skip
    directory: Path

    @classmethod
    def setUpClass(cls) -> None:
        """Start it."""
        cls.directory = Path(mkdtemp())
        cls.addClassCleanup(shutil.rmtree, cls.directory)
        cls.words = (*cls.words, "--request-log", str(cls.directory / "log"))
        super().setUpClass()

    def setUp(self) -> None:
        """Forget what was before."""
        urlopen(Request(self.daemon.url("/admin/requests"), method="DELETE"), timeout=PATIENCE).close()

    def requests(self, query: str, daemon: Daemon | None = None) -> list[dict[str, Any]]:
        """Ask for requests."""
        listed: list[dict[str, Any]] = json.loads((daemon or self.daemon).get(f"/admin/requests?{query}"))["requests"]
        return listed

    def ask(self, port: int, prompt: str) -> None:
        """Have a prompt completed."""
        with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="x", max_retries=0) as client:
            client.completions.create(model="m", prompt=prompt)

    def use_sdk(self) -> None:
        """Send requests as the SDK does, one after the other, and then two at a time, for which there is no room."""
        with openai.OpenAI(base_url=self.daemon.url("/v1"), api_key="sk-secret", max_retries=5) as client:
            client.chat.completions.create(
                model="m", messages=HI, temperature=0.25, seed=5, extra_headers={"X-Tenant": "t"}
            )
            long: Any = [{"role": "user", "content": "w " * 500}]
            with client.chat.completions.create(model="m", messages=long, stream=True) as stream:
                next(iter(stream))
            self.assertRaises(openai.NotFoundError, client.completions.create, model="nix", prompt=["a"])
            client.embeddings.create(model="m", input=["one", "two"], dimensions=4)
            with ThreadPoolExecutor(2) as threads:
                list(threads.map(lambda text: client.completions.create(model="m", prompt=text), ("a b", "c d")))

    def test_sdk(self) -> None:
        """The journal tells exactly what the SDK sent: its requests, its retries, and the stream that it left."""
        self.use_sdk()
        journal = self.requests("wait_for=7&timeout=10&bodies=true")
        seen = [(each["route"], each["outcome"], each["status"], each["asked"], each["stream"]) for each in journal]
        self.assertEqual(
            [
                ("/v1/chat/completions", "completed", 200, "m", False),
                ("/v1/chat/completions", "disconnected", 200, "m", True),
                ("/v1/completions", "invalid", 404, "nix", False),
                ("/v1/embeddings", "completed", 200, "m", False),
            ],
            seen[:4],
        )
        first, left = journal[:2]
        self.assertEqual({"temperature": 0.25, "seed": 5}, first["sampling"])
        self.assertEqual({"model": "m", "messages": HI, "temperature": 0.25, "seed": 5}, first["body"])
        digits = sha256(b"sk-secret").hexdigest()[:12]
        told = tuple(first["headers"][name] for name in ("x-tenant", "authorization", "x-stainless-retry-count"))
        self.assertEqual(("t", f"Bearer sha256:{digits}", "0"), told)
        self.assertTrue(first["headers"]["user-agent"].startswith("OpenAI/Python"))
        self.assertTrue(0.149 <= first["times"]["first_token"] <= first["times"]["last_token"], first["times"])
        self.assertTrue(0 < left["generated_tokens"] < 500, left)
        self.check_retries(journal[4:])
        numbers = {each["number"] for each in journal}
        await_(lambda: numbers <= {line["number"] for line in read(self.directory / "log")})
        self.assertEqual(journal, [line for line in read(self.directory / "log") if line["number"] in numbers])

    def check_retries(self, requests: list[dict[str, Any]]) -> None:
        """Check that two requests were sent until both were answered."""
        by_outcome = Counter((each["outcome"], each["status"]) for each in requests)
        refused = by_outcome["refused", 429]
        self.assertEqual({("completed", 200): 2, ("refused", 429): refused}, dict(by_outcome))
        self.assertGreater(refused, 0)
        answered = {each["body"]["prompt"] for each in requests if each["outcome"] == "completed"}
        self.assertEqual({"a b", "c d"}, answered)
        counts = sorted(int(each["headers"]["x-stainless-retry-count"]) for each in requests)
        self.assertEqual([0, 0, *range(1, refused + 1)], counts)

    def test_example(self) -> None:
        """The example of a test passes."""
        script = str(ROOT / "examples" / "assert_requests.py")
        subprocess.run([sys.executable, script], env={**os.environ, "VLLMSIM_URL": self.daemon.url()}, check=True)

    def test_moved(self) -> None:
        """A log that is moved away goes on in a new file."""
        log = self.directory / "log"
        self.ask(self.daemon.port, "before")
        await_(lambda: b"before" in log.read_bytes())
        old = log.rename(self.directory / "log.1")
        self.ask(self.daemon.port, "behind")
        await_(log.exists)
        await_(log.read_bytes)
        self.assertEqual(["behind"], [line["body"]["prompt"] for line in read(log)])
        self.assertNotIn(b"behind", old.read_bytes())

    def test_stop(self) -> None:
        """Requests that a stop has ended have a line too."""
        log = self.directory / "stopped"
        daemon = self.start("--time-to-first-token", "60s", "--shutdown-timeout", "100ms", "--request-log", str(log))
        daemon.wait()
        with socket.create_connection(("127.0.0.1", daemon.port), PATIENCE) as connection:
            connection.sendall(self.post("/v1/completions", b'{"prompt":"a"}'))
            await_(lambda: self.requests("state=running", daemon))
            self.assertEqual(0, daemon.stop())
        [line] = read(log)
        self.assertEqual(("failed", 503), (line["outcome"], line["status"]))
        self.assertEqual("The server is shutting down.", line["error"]["message"])

    def test_processes(self) -> None:
        """Ranks with processes of their own write to one file, line by line."""
        log, port = self.directory / "processes", free_port(2)
        daemon = self.start(
            "--model", "m", "--data-parallel-size", "2", "--data-parallel-processes", "--data-parallel-supervisor-port",
            str(free_port()), "--request-log", str(log), port=port,
        )  # fmt: skip
        await_(lambda: listens(port) and listens(port + 1))
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda number: self.ask(port + number % 2, f"p{number}"), range(8)))
        self.assertEqual(0, daemon.stop())
        lines = read(log)
        self.assertEqual({0: 4, 1: 4}, dict(Counter(each["rank"] for each in lines)))
        self.assertEqual({f"p{number}" for number in range(8)}, {each["body"]["prompt"] for each in lines})

    def test_no_place(self) -> None:
        """A log that cannot be opened stops the start, with a line that says why."""
        daemon = self.start("--request-log", str(self.directory / "nowhere" / "log"))
        self.assertEqual(1, daemon.process.wait(PATIENCE))
        said = daemon.output()
        self.assertIn("cannot write to the request log", said)
        self.assertIn("No such file or directory", said)
        self.assertNotIn("Traceback", said)
