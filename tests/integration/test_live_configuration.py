"""Configuration that changes while real daemons run."""

import http.client
import json
import os
import shutil
import signal
import socket
import threading
import time
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from tests.integration.daemon import PATIENCE, Daemon, DaemonsTestCase, DaemonTestCase, free_port, until
from tests.integration.test_processes import ProcessesTestCase, fetch

CHANGES = 1000
READERS = 12
TOKENS = 5
STATES = (
    {"response-role": "one", "time-to-first-token": "800ms", "inter-token-latency": "2ms"},
    {"response-role": "two", "time-to-first-token": "2ms", "inter-token-latency": "250ms"},
)
KEY = "let-me-in"


class Unix(http.client.HTTPConnection):
    """HTTP over a socket of this machine."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


class LoadTests(DaemonTestCase):
    """A daemon that is changed all the time."""

    words = ("--max-num-seqs", "100", "--seed", "1")

    def read(self, stop: threading.Event, seen: list[tuple[str, float, float]]) -> None:
        """Stream answers one after the other, and remember the role, and when the first token and the last came."""
        connection = http.client.HTTPConnection("127.0.0.1", self.daemon.port, timeout=PATIENCE)
        body = {
            "messages": [{"role": "user", "content": "x"}], "max_tokens": TOKENS, "ignore_eos": True, "stream": True,
        }  # fmt: skip
        while not stop.is_set():
            began = time.monotonic()
            connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
            lines, role, times = connection.getresponse(), "", []
            while line := lines.readline():
                if line.startswith(b"data: {"):
                    delta = json.loads(line[6:])["choices"][0]["delta"]
                    role = delta.get("role", role)
                    times += [time.monotonic() - began] if delta.get("content") else []
            seen.append((role, times[0], times[-1]))
        connection.close()

    def test_whole(self) -> None:
        """While a thousand changes come, every request has the times of one of the two configurations, both of them."""
        stop, seen = threading.Event(), list[tuple[str, float, float]]()
        readers = [threading.Thread(target=self.read, args=(stop, seen)) for _ in range(READERS)]
        connection = http.client.HTTPConnection("127.0.0.1", self.daemon.port, timeout=PATIENCE)
        for number in range(CHANGES):
            connection.request("POST", "/admin/config", json.dumps(STATES[number % 2]))
            answer = connection.getresponse()
            shown = json.loads(answer.read())
            self.assertEqual((200, STATES[number % 2]["response-role"]), (answer.status, shown["response-role"]))
            if not number:
                for reader in readers:
                    reader.start()
        stop.set()
        for reader in readers:
            reader.join()
        connection.close()
        for role, first, last in seen:
            if role == "one":
                self.assertLess(0.799, first)
                self.assertLess(last, 1.7)
            else:
                self.assertEqual("two", role)
                self.assertLess(0.999, last)
                self.assertLess(first, 0.75)
        self.assertEqual({"one", "two"}, {role for role, _, _ in seen})
        history = json.loads(self.daemon.get("/admin/config/history"))["changes"]
        self.assertEqual((100, 3), (len(history), len(history[0]["changes"])))


class FileTests(DaemonsTestCase):
    """A daemon with a file."""

    def setUp(self) -> None:
        """Have a folder like the one that Kubernetes makes of a ConfigMap."""
        self.folder = Path(mkdtemp(prefix="vllmsim-", dir="/tmp"))  # a socket has a short path
        self.addCleanup(shutil.rmtree, self.folder)
        self.write("one", "time-to-first-token: 10ms\nmax-model-len: 500\n")
        (self.folder / "data").symlink_to("one")
        (self.folder / "sim.yaml").symlink_to("data/sim.yaml")

    def write(self, name: str, text: str) -> None:
        """Write a file into a folder of its own."""
        (self.folder / name).mkdir(exist_ok=True)
        (self.folder / name / "sim.yaml").write_text(text, "utf-8")

    def show(self, path: str) -> Any:
        """Ask an administrator's socket."""
        connection = Unix(path)
        connection.request("GET", "/admin/config", headers={"Authorization": f"Bearer {KEY}"})
        answer = connection.getresponse()
        value = json.loads(answer.read())
        connection.close()
        self.assertEqual(200, answer.status)
        return value

    def test_file(self) -> None:
        """The file is read again with SIGHUP, and when it is another; a broken one changes nothing.

        The administrator's socket is of this machine, needs the key, and has what the port has not.
        """
        path = str(self.folder / "admin.sock")
        own = ("--admin-endpoint", f"unix:{path}", "--admin-api-key", KEY, "--config-watch", "100ms")
        daemon = self.start("--config", str(self.folder / "sim.yaml"), *own)
        daemon.wait()
        self.assertEqual("10ms", self.show(path)["time-to-first-token"])
        self.assertEqual(404, fetch(daemon.url("/admin/config"))[0])
        self.write("one", "time-to-first-token: 20ms\nmax-model-len: 500\n")
        daemon.process.send_signal(signal.SIGHUP)
        until(lambda: self.show(path)["time-to-first-token"] == "20ms", "read again")
        self.write("two", "time-to-first-token: 30ms\nmax-model-len: 600\n")
        (self.folder / "new").symlink_to("two")
        (self.folder / "new").rename(self.folder / "data")
        until(lambda: self.show(path)["time-to-first-token"] == "30ms", "seen to be another")
        self.assertEqual(500, self.show(path)["max-model-len"])
        self.write("two", "time-to-first-token: -1\nbogus: 1\n")
        until(lambda: "bogus" in daemon.output(), "seen to be broken")
        self.assertEqual("30ms", self.show(path)["time-to-first-token"])
        self.assertEqual(0, daemon.stop())
        output = daemon.output()
        for words in (
            'has changed the configuration: time-to-first-token from "10ms" to "20ms"',
            "max-model-len has changed, which takes a restart to have effect.",
            "The configuration stays as it is: time-to-first-token",
        ):
            self.assertIn(words, output)
        self.assertNotIn("Traceback", output)
        self.assertNotIn(KEY, output)
        self.assertFalse(Path(path).exists())

    def test_no_file(self) -> None:
        """SIGHUP ends nothing, also without a file."""
        daemon = self.start()
        daemon.wait()
        daemon.process.send_signal(signal.SIGHUP)
        until(lambda: "there is no configuration file to read again" in daemon.output(), "said")
        self.assertEqual(b"{}", daemon.get("/health"))


class ProcessTests(ProcessesTestCase):
    """Ranks in processes."""

    def times(self, daemon: Daemon) -> list[str]:
        """Ask each rank for itself."""
        return [self.show(daemon, rank)["time-to-first-token"] for rank in range(2)]

    def show(self, daemon: Daemon, rank: int, query: str = "") -> Any:
        """Ask a rank."""
        return json.loads(fetch(f"http://127.0.0.1:{daemon.port + rank}/admin/config{query}")[2])

    def change(self, daemon: Daemon, rank: int, path: str = "", **values: Any) -> int:
        """Have a rank change something."""
        body = json.dumps({name.replace("_", "-"): value for name, value in values.items()}).encode()
        return fetch(f"http://127.0.0.1:{daemon.port + rank}/admin/config{path}", body)[0]

    def waits(self, daemon: Daemon, rank: int) -> float:
        """Measure how long a rank takes for a token."""
        began = time.monotonic()
        fetch(f"http://127.0.0.1:{daemon.port + rank}/v1/completions", b'{"prompt": "x", "max_tokens": 1}')
        return time.monotonic() - began

    def test_together(self) -> None:
        """Whichever rank is asked, all change, or the one that is named; also with SIGHUP, and who starts again."""
        path = Path(f"/tmp/vllmsim-live-{os.getpid()}.yaml")  # noqa: S108
        path.write_text("max-num-seqs: 9\n", "utf-8")
        self.addCleanup(path.unlink)
        daemon = self.start_two("--config", str(path), port=free_port(3))
        self.assertEqual(200, self.change(daemon, 1, time_to_first_token="1500ms"))
        self.assertEqual(["1.5s", "1.5s"], self.times(daemon))
        self.assertLess(1.499, self.waits(daemon, 0))
        self.assertEqual(200, self.change(daemon, 0, "?rank=1", time_to_first_token="1ms"))
        self.assertEqual(["1.5s", "1ms"], self.times(daemon))
        self.assertEqual([0, 1], [self.show(daemon, 0, query)["data-parallel-rank"] for query in ("", "?rank=1")])
        self.assertEqual(400, self.change(daemon, 0, "?rank=2"))
        self.assertEqual(400, self.change(daemon, 0, port=1, time_to_first_token=5))
        self.assertEqual(200, self.change(daemon, 0, "/undo"))
        self.assertEqual(["1.5s", "1.5s"], self.times(daemon))
        path.write_text("max-num-seqs: 9\ntime-to-first-token: 3ms\n", "utf-8")
        daemon.process.send_signal(signal.SIGHUP)
        until(lambda: self.times(daemon) == ["3ms", "3ms"], "read again")
        pid = self.pids(daemon)[1]
        os.kill(pid, signal.SIGKILL)
        until(lambda: self.pids(daemon)[1] != pid, "started again")
        until(lambda: self.status(daemon) == 200, "well again")
        self.assertGreater(1.2, self.waits(daemon, 1))
        self.assertEqual(["3ms", "3ms"], self.times(daemon))
        self.assertEqual(0, daemon.stop())
        self.assertNotIn("Traceback", daemon.output())
