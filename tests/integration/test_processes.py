"""One process per data-parallel rank, and the supervisor over them."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path
from unittest import skipUnless

from tests.integration.daemon import PATIENCE, Daemon, DaemonsTestCase, free_port, until
from tests.integration.test_process import PROGRAMS


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked after does not."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False


def fetch(url: str, body: bytes | None = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Ask a server.

    :return: status, headers with names in lower case, and body.
    """
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", **more})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, _lower(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, _lower(error.headers), error.read()


def _lower(headers: Message) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


class ProcessesTestCase(DaemonsTestCase):
    """Servers of two ranks in processes."""

    def start_two(self, *words: str, program: list[str] | None = None, port: int | None = None) -> Daemon:
        """Start a server whose supervisor listens behind the ranks, and wait until it is well."""
        port = port or free_port(3)
        daemon = self.begin(*words, program=program, port=port)
        until(lambda: self.status(daemon) == 200 or daemon.process.poll() is not None, "well")
        self.assertIs(None, daemon.process.poll(), daemon.output())
        return daemon

    def begin(self, *words: str, program: list[str] | None = None, port: int) -> Daemon:
        """Start a server."""
        own = ("-dpm", "--data-parallel-size", "2", "--data-parallel-supervisor-port", str(port + 2))
        return self.start(*own, "--dp-supervisor-probe-interval-s", "0.2", *words, program=program, port=port)

    def status(self, daemon: Daemon, path: str = "/health") -> int:
        """Ask the supervisor."""
        try:
            return fetch(f"http://127.0.0.1:{daemon.port + 2}{path}")[0]
        except OSError:
            return 0

    def pids(self, daemon: Daemon) -> dict[int, int]:
        """Find the last process of each rank."""
        return {int(rank): int(pid) for rank, pid in re.findall(r"Rank (\d) is process (\d+)\.", daemon.output())}

    def stream(self, daemon: Daemon, rank: int, tokens: int) -> socket.socket:
        """Begin a stream, and wait for its first token."""
        connection = socket.create_connection(("127.0.0.1", daemon.port + rank), PATIENCE)
        self.addCleanup(connection.close)
        body = json.dumps({"prompt": "a", "max_tokens": tokens, "ignore_eos": True, "stream": True}).encode()
        connection.sendall(self.post("/v1/completions", body))
        self.assertIn(b"text/event-stream", connection.recv(4096))
        return connection

    def rest(self, connection: socket.socket) -> bytes:
        """Read a stream to its end."""
        rest = b""
        while data := connection.recv(65536):
            rest += data
        return rest


class ServingTests(ProcessesTestCase):
    """Servers that are well."""

    def test_programs(self) -> None:
        """Every way to start the program starts ranks too, each with its port and number, and leaves nothing behind."""
        for program in PROGRAMS.values():
            daemon = self.start_two(program=program)
            for rank in (0, 1):
                _, _, body = fetch(f"http://127.0.0.1:{daemon.port + rank}/metrics")
                self.assertIn(f'engine="{rank}",model_name="m1"'.encode(), body)
            self.assertEqual([200, 200], [self.status(daemon, path) for path in ("/ready", "/readyz")])
            pids = self.pids(daemon)
            self.assertEqual({0, 1}, set(pids))
            self.assertEqual(0, daemon.stop())
            output = daemon.output()
            self.assertEqual([], [pid for pid in pids.values() if alive(pid)])
            said = "[vllmsim.service.RankService#info] [rank 1] Starting vLLM server on"
            self.assertIn(f"{said} http://127.0.0.1:{daemon.port + 1}\n", output)
            self.assertEqual(1, output.count("Supervisor#info] Application startup complete."))
            self.assertNotIn("Traceback", output)

    def test_identity(self) -> None:
        """A rank is the same to its clients in a process of its own: headers, ids, texts, metrics and errors."""
        port = free_port(3)
        words = ("--seed", "7", "--pod-name", "p", "-dp", "3", "-dpl", "2", "-dpr", "1", "-tp", "2")
        seen = []
        for processes in (False, True):
            if processes:
                daemon = self.start_two(*words, port=port)
            else:
                daemon = self.start(*words, port=port)
                daemon.wait()
            seen.append([self.identity(port + offset) for offset in (0, 1)])
            self.assertEqual(0, daemon.stop())
        self.assertEqual(seen[0], seen[1])
        self.assertNotEqual(seen[0][0], seen[0][1])

    def identity(self, port: int) -> list[object]:
        """Collect what tells one rank from another."""
        url = f"http://127.0.0.1:{port}"
        body = json.dumps({"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 12, "seed": None}).encode()
        status, headers, answer = fetch(f"{url}/v1/chat/completions", body)
        del headers["date"]
        said = json.loads(answer) | {"created": 0}
        refused = fetch(f"{url}/v1/chat/completions", body, X_data_parallel_rank="3")
        names = re.findall(rb"^vllm:\S+", fetch(f"{url}/metrics")[2], re.MULTILINE)
        engines = fetch(f"{url}/query")[2]
        return [status, headers, said, refused[0], sorted(names), engines]

    def test_unix_sockets(self) -> None:
        """Ranks that listen on unix sockets are watched there, also after one has died without tidying up."""
        folder = Path(f"/tmp/vllmsim-ranks-{os.getpid()}")  # noqa: S108 - a path must be short here
        folder.mkdir()
        self.addCleanup(shutil.rmtree, folder)
        daemon = self.start_two("--uds", f"{folder}/{{rank}}.sock")
        self.assertTrue((folder / "1.sock").is_socket())
        os.kill(self.pids(daemon)[1], signal.SIGKILL)
        until(lambda: self.status(daemon) == 503, "not well")
        until(lambda: self.status(daemon) == 200, "well again")

    @skipUnless(shutil.which("openssl"), "needs openssl")
    def test_tls(self) -> None:
        """Ranks that speak TLS are watched too."""
        folder = Path(f"/tmp/vllmsim-ranks-tls-{os.getpid()}")  # noqa: S108
        folder.mkdir()
        self.addCleanup(shutil.rmtree, folder)
        key, certificate = str(folder / "key.pem"), str(folder / "cert.pem")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-days", "1",
             "-keyout", key, "-out", certificate],
            check=True, capture_output=True,
        )  # fmt: skip
        self.start_two("--ssl-certfile", certificate, "--ssl-keyfile", key)


class CrashTests(ProcessesTestCase):
    """Ranks that die."""

    def test_crash(self) -> None:
        """A rank that is killed is started again with the configuration it had, while the other serves on."""
        path = Path(f"/tmp/vllmsim-ranks-{os.getpid()}.yaml")  # noqa: S108
        path.write_text("model: from-file\ninter-token-latency: 50ms\n", "utf-8")
        self.addCleanup(path.unlink, missing_ok=True)
        daemon = self.start_two("--config", str(path))
        path.unlink()
        stream = self.stream(daemon, 0, 40)
        first = self.pids(daemon)
        os.kill(first[1], signal.SIGKILL)
        until(lambda: self.status(daemon) == 503, "not well")
        until(lambda: self.status(daemon) == 200, "well again")
        second = self.pids(daemon)
        self.assertEqual((True, True), (first[0] == second[0], first[1] != second[1]))
        models = json.loads(fetch(f"http://127.0.0.1:{daemon.port + 1}/v1/models")[2])
        self.assertEqual("from-file", models["data"][0]["id"])
        self.assertIn("Rank 1 ended by SIGKILL, and is started again.", daemon.output())
        self.assertIn(b"[DONE]", self.rest(stream))
        self.assertEqual(0, daemon.stop())

    def test_stuck(self) -> None:
        """A rank that answers no more counts as not well after some time, and as well when it goes on."""
        daemon = self.start_two(
            "--dp-supervisor-probe-timeout-s", "0.2", "--dp-supervisor-probe-failure-threshold", "2"
        )
        pid = self.pids(daemon)[1]
        os.kill(pid, signal.SIGSTOP)
        try:
            until(lambda: self.status(daemon) == 503, "not well")
        finally:
            os.kill(pid, signal.SIGCONT)
        until(lambda: self.status(daemon) == 200, "well again")

    def test_port_in_use(self) -> None:
        """A port of a rank that is taken stops the server with status 1, and the log says why."""
        port = free_port(3)
        with socket.create_server(("127.0.0.1", port + 1)):
            daemon = self.begin(port=port)
            self.assertEqual(1, daemon.process.wait(PATIENCE))
        output = daemon.output()
        endpoint = f"'tcp:{port + 1}:interface=127.0.0.1:backlog=2048'"
        self.assertIn(f"[rank 1] vllmsim: cannot listen on {endpoint}: Address already in use\n", output)
        self.assertIn("Rank 1 ended with status 1 before it could listen. The server stops.", output)
        self.assertNotIn("Traceback", output)
        self.assertEqual([], [pid for pid in self.pids(daemon).values() if alive(pid)])

    def test_supervisor_port_in_use(self) -> None:
        """So does the supervisor's own."""
        port = free_port(3)
        with socket.create_server(("127.0.0.1", port + 2)):
            daemon = self.begin(port=port)
            self.assertEqual(1, daemon.process.wait(PATIENCE))
        self.assertIn(f"cannot listen on 'tcp:{port + 2}:interface=127.0.0.1': Address already in use", daemon.output())
        self.assertEqual({}, self.pids(daemon))


class StopTests(ProcessesTestCase):
    """How servers end."""

    words = ("--inter-token-latency", "50ms")

    def test_sigterm(self) -> None:
        """Ranks finish what they do, meanwhile the supervisor answers 503, and the status is 0.

        It changes nothing when ranks get the signal too, as they do from an init system or a terminal.
        """
        for everybody in (False, True):
            daemon = self.start_two(*self.words)
            pids = self.pids(daemon)
            streams = [self.stream(daemon, rank, 20) for rank in pids]
            for pid in (*(pids.values() if everybody else ()), daemon.process.pid):
                os.kill(pid, signal.SIGTERM)
            until(lambda: self.status(daemon) == 503, "not well")  # noqa: B023 - it is called here
            for stream in streams:
                rest = self.rest(stream)
                self.assertIn(b'"finish_reason":"length"', rest)
                self.assertIn(b"[DONE]", rest)
            self.assertEqual(0, daemon.process.wait(PATIENCE), daemon.output())
            self.assertEqual([], [pid for pid in pids.values() if alive(pid)])
            self.assertNotIn("is started again", daemon.output())

    def test_second_signal(self) -> None:
        """A second signal ends all at once, with status 1."""
        daemon = self.start_two("--inter-token-latency", "1h")
        pids = self.pids(daemon).values()
        self.stream(daemon, 1, 20)
        daemon.process.send_signal(signal.SIGINT)
        until(lambda: "[vllmsim.stopping.SignalService#info] [rank 1] Received SIGTERM" in daemon.output(), "told")
        daemon.process.send_signal(signal.SIGINT)
        self.assertEqual(1, daemon.process.wait(PATIENCE))
        until(lambda: not any(map(alive, pids)), "without processes")

    def test_sigkill(self) -> None:
        """Ranks do not outlive their supervisor, not even when it is killed, or when they are only starting."""
        for wait in (True, False):
            if wait:
                daemon = self.start_two("--inter-token-latency", "1h")
                self.stream(daemon, 1, 20)
            else:
                daemon = self.begin(port=free_port(3))
                until(lambda: len(self.pids(daemon)) == 2, "begun")  # noqa: B023
            pids = self.pids(daemon).values()
            daemon.process.kill()
            until(lambda: not any(map(alive, pids)), "without processes")  # noqa: B023
