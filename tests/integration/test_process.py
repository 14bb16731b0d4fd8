"""The daemon's life as a process: how it starts, how it refuses to, how it ends."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from unittest import skipUnless

from tests.folders import make_folder
from tests.integration.daemon import ROOT, DaemonTestCase, free_port

SCRIPTS = Path(sys.executable).parent
PROGRAMS = {
    "console script": [str(SCRIPTS / "vllmsim"), "serve", "m1"],
    "module": [sys.executable, "-m", "vllmsim", "m1"],
    "twistd": [str(SCRIPTS / "twistd"), "-n", "--pidfile=", "vllmsim", "--model", "m1"],
}


class StartTests(DaemonTestCase):
    """Ways to start."""

    words = ("--config", "etc/vllmsim/sim.yaml")

    def test_programs(self) -> None:
        """The console script, the module and twistd are the same program."""
        for program in PROGRAMS.values():
            daemon = self.start(program=program)
            daemon.wait()
            models = json.loads(daemon.get("/v1/models"))
            self.assertEqual("m1", models["data"][0]["id"])
            self.assertEqual(0, daemon.stop())

    def test_log(self) -> None:
        """The log says where the daemon listens, in words that scripts wait for."""
        output = self.daemon.output()
        self.assertIn(f"Starting vLLM server on http://127.0.0.1:{self.daemon.port}", output)
        self.assertIn("Application startup complete.", output)

    def test_ranks(self) -> None:
        """Each rank answers on a port of its own."""
        port = free_port(3)
        daemon = self.start("--data-parallel-size", "3", port=port)
        daemon.wait()
        for rank in range(3):
            with urllib.request.urlopen(f"http://127.0.0.1:{port + rank}/metrics", timeout=10) as response:
                self.assertIn(f'engine="{rank}"'.encode(), response.read())

    def test_unix_socket(self) -> None:
        """A rank can listen on a unix socket."""
        path = f"/tmp/vllmsim-test-{os.getpid()}.sock"  # noqa: S108 - a path must be short here
        daemon = self.start(program=[*PROGRAMS["module"], "--uds", path])
        for _ in range(500):
            if Path(path).exists():
                break
            time.sleep(0.02)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
            connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
            self.assertIn(b"200 OK", connection.recv(1000))
        self.assertEqual(0, daemon.stop())

    @skipUnless(shutil.which("openssl"), "needs openssl")
    def test_tls(self) -> None:
        """With a certificate the server speaks TLS."""
        folder = Path(f"/tmp/vllmsim-tls-{os.getpid()}")  # noqa: S108
        folder.mkdir()
        self.addCleanup(shutil.rmtree, folder)
        key, certificate = folder / "key.pem", folder / "cert.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1",
             "-keyout", key, "-out", certificate],
            check=True, capture_output=True,
        )  # fmt: skip
        daemon = self.start("--ssl-certfile", str(certificate), "--ssl-keyfile", str(key))
        context = __import__("ssl").create_default_context(cafile=str(certificate))
        for _ in range(500):
            try:
                with urllib.request.urlopen(f"https://localhost:{daemon.port}/health", context=context) as response:
                    self.assertEqual(b"{}", response.read())
                    return
            except OSError:
                time.sleep(0.02)
        self.fail(daemon.output())


class RefusalTests(DaemonTestCase):
    """What keeps it from starting: every problem in a line of its own, and status 1."""

    def refused(self, *words: str, yaml: str | None = None) -> str:
        """Start a daemon that must not start, and return what it said."""
        if yaml is not None:
            path = Path(f"/tmp/vllmsim-{os.getpid()}.yaml")  # noqa: S108
            path.write_text(yaml, "utf-8")
            self.addCleanup(path.unlink, missing_ok=True)
            words = (*words, "--config", str(path))
        done = subprocess.run(
            [*PROGRAMS["console script"], *words], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
        )
        said = done.stdout + done.stderr
        self.assertEqual(1, done.returncode, said)
        self.assertNotIn("Traceback", said)
        return said

    def test_words(self) -> None:
        """A wrong command line is refused as a whole."""
        said = self.refused("--port", "0", "--max-nun-seqs", "3", "--mode", "7")
        self.assertIn("3 problems in the configuration", said)
        self.assertIn("did you mean --max-num-seqs?", said)

    def test_yaml(self) -> None:
        """A file that is no map, no YAML, not there, or has an unknown key is refused."""
        self.assertIn("must be a map", self.refused(yaml="- port"))
        self.assertIn("it is not YAML", self.refused(yaml="port: [1"))
        self.assertIn("did you mean max-num-seqs?", self.refused(yaml="max-nun-seqs: 3"))
        self.assertIn("No such file", self.refused("--config", "/no/such.yaml"))

    def test_port_in_use(self) -> None:
        """A port that is taken is one clear line."""
        said = self.refused("--host", "127.0.0.1", "--port", str(self.daemon.port))
        endpoint = f"'tcp:{self.daemon.port}:interface=127.0.0.1:backlog=2048'"
        self.assertIn(f"cannot listen on {endpoint}: Address already in use", said)

    def test_port_in_use_in_the_background(self) -> None:
        """One that was to go to the background says so to the terminal, and leaves no file with its number."""
        folder = make_folder(self)
        words = ["--pidfile", f"{folder}/pid", "--logfile", f"{folder}/log", "vllmsim", "--host", "127.0.0.1"]
        done = subprocess.run(
            [PROGRAMS["twistd"][0], *words, "--port", str(self.daemon.port)],
            cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        self.assertEqual(1, done.returncode, done.stdout + done.stderr)
        self.assertIn("vllmsim: cannot listen on", done.stderr)
        self.assertFalse(folder.joinpath("pid").exists())

    def test_no_key(self) -> None:
        """A certificate that is not there is one clear line."""
        self.assertIn("No such file", self.refused("--ssl-certfile", "/no/c.pem", "--ssl-keyfile", "/no/k.pem"))


class StopTests(DaemonTestCase):
    """How it ends."""

    words = ("--max-num-seqs", "1", "--inter-token-latency", "20ms", "--mode", "echo")

    def test_sigterm(self) -> None:
        """It finishes what runs, refuses new connections meanwhile, and exits with status 0."""
        daemon = self.start("--inter-token-latency", "50ms", "--mode", "echo")
        daemon.wait()
        body = json.dumps({"prompt": "a " * 20, "max_tokens": 20}).encode()
        answers: list[bytes] = []

        def ask() -> None:
            request = urllib.request.Request(daemon.url("/v1/completions"), body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=20) as response:
                answers.append(response.read())

        asking = threading.Thread(target=ask)
        asking.start()
        self.wait_for_running(daemon.get)
        idle = socket.create_connection(("127.0.0.1", daemon.port), 20)
        self.addCleanup(idle.close)
        # One that is not accepted yet when the port is closed would be reset.
        idle.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertIn(b"200 OK", idle.recv(4096))
        daemon.process.send_signal(signal.SIGTERM)
        self.assertEqual(b"", idle.recv(1))
        self.assertRaises(ConnectionRefusedError, socket.create_connection, ("127.0.0.1", daemon.port), 20)
        self.assertEqual([], answers)
        asking.join(20)
        self.assertEqual(0, daemon.process.wait(10))
        self.assertEqual("a " * 20, json.loads(answers[0])["choices"][0]["text"])
        self.assertIn("Received SIGTERM", daemon.output())

    def wait_for_running(self, get: Callable[[str], bytes]) -> None:
        """Wait until a sequence runs."""
        for _ in range(500):
            if re.search(rb"num_requests_running\{[^}]*\} 1\.0", get("/metrics")):
                return
            time.sleep(0.01)
        self.fail("nothing runs")

    def test_shutdown_timeout(self) -> None:
        """What cannot finish in time is told so, and the exit is in order all the same."""
        daemon = self.start("--inter-token-latency", "10s", "--shutdown-timeout", "0")
        daemon.wait()
        with socket.create_connection(("127.0.0.1", daemon.port), 20) as connection:
            connection.sendall(self.post("/v1/completions", b'{"prompt":"a","ignore_eos":true,"stream":true}'))
            self.assertIn(b"text/event-stream", connection.recv(4096))
            daemon.process.send_signal(signal.SIGTERM)
            rest = b""
            while data := connection.recv(4096):
                rest += data
        self.assertIn(b"shutting down", rest)
        self.assertIn(b"[DONE]", rest)
        self.assertEqual(0, daemon.process.wait(10))

    def test_second_signal(self) -> None:
        """A second signal ends it at once, with status 1."""
        daemon = self.start("--time-to-first-token", "1h")
        daemon.wait()
        with socket.create_connection(("127.0.0.1", daemon.port), 20) as connection:
            connection.sendall(self.post("/v1/completions", b'{"prompt":"a"}'))
            self.wait_for_running(daemon.get)
            daemon.process.send_signal(signal.SIGINT)
            for _ in range(500):
                if "Received SIGINT" in daemon.output():
                    break
                time.sleep(0.01)
            daemon.process.send_signal(signal.SIGINT)
            self.assertEqual(1, daemon.process.wait(10))

    def test_abandoned_stream(self) -> None:
        """With one slot, a long stream that its client drops makes room for the next request at once."""
        body = json.dumps({"prompt": "a", "max_tokens": 1000, "ignore_eos": True, "stream": True}).encode()
        stream = self.raw(self.post("/v1/completions", body))
        self.assertIn(b"text/event-stream", stream.recv(4096))
        begin = time.monotonic()
        stream.close()
        answer = b""
        following = self.raw(self.post("/v1/completions", b'{"prompt":"b","max_tokens":1}'))
        while data := following.recv(4096):
            answer += data
        self.assertIn(b'"text":"b"', answer)
        self.assertLess(time.monotonic() - begin, 5)
