"""The daemon as a service of systemd's: what it tells, and sockets that it is passed."""

import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import skipUnless

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.daemon import PATIENCE, ROOT, free_port

TWISTD = [str(Path(sys.executable).with_name("twistd")), "-n", "--pidfile=", "vllmsim"]
PASSING = """
import os, sys
for number, descriptor in enumerate(sys.argv[1].split(",")):
    os.dup2(int(descriptor), 3 + number)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Becomes a program that has descriptors from 3 on."""
_HIGH = 100
ACTIVATE = shutil.which("systemd-socket-activate") or ""


class SystemdTestCase(SynchronousTestCase):
    """Tests that start the daemon as systemd does."""

    def setUp(self) -> None:
        """Have a folder, and a socket to hear what the daemon says."""
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.ear.close)
        self.ear.bind(str(self.folder / "notify"))
        self.ear.settimeout(PATIENCE)

    def start(self, command: list[str], **more: Any) -> subprocess.Popen[str]:
        """Start a daemon, of which the log is read."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("COV_", "POD_"))}
        environment = {**kept, "NOTIFY_SOCKET": str(self.folder / "notify"), **more.pop("environment", {})}
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more
        )
        self.addCleanup(self.end, process)
        return process

    def end(self, process: subprocess.Popen[str]) -> None:
        """End it, if it has not yet."""
        process.kill()
        process.communicate()

    def hear(self, *words: str) -> list[str]:
        """Wait for a message with some lines, and pass over others."""
        while True:
            lines = self.ear.recv(1 << 16).decode().split("\n")
            if set(words) <= set(lines):
                return lines

    def stop(self, process: subprocess.Popen[str]) -> str:
        """Stop it in order, and read its log."""
        process.send_signal(signal.SIGTERM)
        log, _ = process.communicate(timeout=PATIENCE)
        self.assertEqual(0, process.returncode, log)
        self.assertNotIn("Traceback", log)
        return log


class NotifyTests(SystemdTestCase):
    """From the start to the end."""

    def test_life(self) -> None:
        """It says when it serves, that it is alive, when it reads its configuration again, and that it stops."""
        config, port = self.folder / "sim.yaml", free_port()
        config.write_text(f"port: {port}\nhost: 127.0.0.1\n", "utf-8")
        process = self.start([*TWISTD, "--config", str(config)], environment={"WATCHDOG_USEC": "400000"})
        status = "STATUS=Serving Qwen/Qwen3-0.6B on 1 rank: 0 requests running, 0 waiting"
        self.hear("READY=1", status)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=PATIENCE) as answer:
            self.assertEqual(200, answer.status)
        self.hear("WATCHDOG=1")
        process.send_signal(signal.SIGHUP)
        self.hear("RELOADING=1")
        self.hear("READY=1", status)
        config.write_text("bogus: 1\n", "utf-8")
        process.send_signal(signal.SIGHUP)
        self.hear("READY=1", f"{status}; the configuration was read again and refused, see the log")
        # A reactor that stands still says nothing: systemd would notice.
        process.send_signal(signal.SIGSTOP)
        self.ear.settimeout(0.5)
        self.assertRaises(TimeoutError, lambda: [self.hear("WATCHDOG=1") for _ in range(100)])
        self.ear.settimeout(PATIENCE)
        process.send_signal(signal.SIGCONT)
        self.hear("WATCHDOG=1")
        process.send_signal(signal.SIGTERM)
        reason = "STATUS=Stopping after SIGTERM: 0 requests running, 0 waiting"
        self.hear("STOPPING=1", "EXTEND_TIMEOUT_USEC=55000000", reason)
        process.communicate(timeout=PATIENCE)
        self.assertEqual(0, process.returncode)


class SocketTests(SystemdTestCase):
    """Sockets that are there before the daemon."""

    def passed(self, count: int, begin: Callable[[], socket.socket]) -> list[socket.socket]:
        """Open sockets, as systemd does.

        :return: the sockets, which stay open.
        """
        opened = []
        for _ in range(count):
            opened.append(begin())
            self.addCleanup(opened[-1].close)
            opened[-1].listen()
        return opened

    def on_both(self) -> socket.socket:
        """Open one for both families, as ListenStream=8000 makes it."""
        opened = socket.socket(socket.AF_INET6)
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        opened.bind(("::", 0))
        return opened

    def in_folder(self) -> socket.socket:
        """Open one with a path."""
        opened = socket.socket(socket.AF_UNIX)
        opened.bind(str(self.folder / f"admin{len(list(self.folder.iterdir()))}"))
        return opened

    def start_with(self, sockets: list[socket.socket], names: str, *words: str) -> subprocess.Popen[str]:
        """Start a daemon that is passed sockets from descriptor 3 on."""
        copies = [fcntl.fcntl(each, fcntl.F_DUPFD, _HIGH) for each in sockets]
        for copy in copies:
            self.addCleanup(os.close, copy)
        passing = [sys.executable, "-c", PASSING, ",".join(map(str, copies))]
        environment = {"LISTEN_FDS": str(len(sockets)), "LISTEN_FDNAMES": names}
        return self.start([*passing, *TWISTD, *words], environment=environment, pass_fds=copies)

    def ask(self, port: int, path: str = "/health", host: str = "127.0.0.1") -> bytes:
        """Ask a rank."""
        with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=PATIENCE) as answer:
            return bytes(answer.read())

    def test_ranks(self) -> None:
        """Ranks in one process serve a socket each, and clients that come before them; systemd keeps the sockets."""
        sockets = [*self.passed(2, self.on_both), *self.passed(2, self.in_folder)]
        ports = [each.getsockname()[1] for each in sockets[:2]]
        early = socket.create_connection(("127.0.0.1", ports[1]), PATIENCE)
        self.addCleanup(early.close)
        early.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        listen = "systemd:domain=INET6:name=rank{rank}"
        process = self.start_with(
            sockets, "rank0:rank1:admin0:admin1", "-dp", "2", "--listen", listen,
            "--admin-endpoint", "systemd:domain=UNIX:name=admin{rank}",
        )  # fmt: skip
        self.hear("READY=1")
        self.assertTrue(early.recv(4096).startswith(b"HTTP/1.1 200"))
        for host in ("127.0.0.1", "[::1]"):
            self.assertIn(b'"data"', self.ask(ports[0], "/v1/models", host))
        self.stop(process)
        for each in sockets:
            with socket.socket(each.family) as client:
                client.connect(each.getsockname())

    def test_processes(self) -> None:
        """Ranks in processes are passed their sockets; clients of one that is started again wait for it."""
        sockets = self.passed(1, self.on_both)
        port = sockets[0].getsockname()[1]
        process = self.start_with(
            sockets, "rank0", "-dpm", "--listen", "systemd:domain=INET6:name=rank{rank}",
            "--data-parallel-supervisor-port", str(free_port()),
            "--dp-supervisor-probe-interval-s", "0.2", "--log-format", "journal",
        )  # fmt: skip
        self.hear("READY=1", "STATUS=Serving Qwen/Qwen3-0.6B on 1 rank: 0 requests running, 0 waiting")
        self.assertEqual(b"{}", self.ask(port))
        assert process.stdout is not None
        started = re.compile("Rank 0 is process ([0-9]+)")
        pid = next(int(match[1]) for line in process.stdout if (match := started.search(line)))
        os.kill(pid, signal.SIGKILL)
        self.assertEqual(b"{}", self.ask(port))
        log = self.stop(process)
        self.assertIn("<4>[vllmsim.processes.supervisor.Supervisor#warn] Rank 0 ended by SIGKILL", log)
        self.assertIn("<6>[vllmsim.service.RankService#info] [rank 0] Starting vLLM server on systemd:", log)

    def test_wrong(self) -> None:
        """A socket that is not there is one line and status 1, in one process and in several."""
        sockets = self.passed(1, self.on_both)
        for words in ((), ("-dpm",)):
            listen = ("--listen", "systemd:domain=INET6:name=rank{rank}")
            process = self.start_with(sockets, "rank0", "-dp", "2", *listen, *words)
            said, _ = process.communicate(timeout=PATIENCE)
            line = "systemd has passed no socket named 'rank1', but 'rank0'"
            self.assertEqual(f"vllmsim: cannot listen on 'systemd:domain=INET6:name=rank1': {line}\n", said)
            self.assertEqual(1, process.returncode)

    @skipUnless(ACTIVATE, "needs systemd-socket-activate")
    def test_activated(self) -> None:
        """It is started by the first client, and answers it."""
        port = free_port()
        own = [ACTIVATE, "-E", "NOTIFY_SOCKET", "-E", "PYTHONPATH", "-l", f"127.0.0.1:{port}", "--fdname=http"]
        process = self.start(
            [*own, *TWISTD, "--listen", "systemd:domain=INET:name=http"], environment={"PYTHONPATH": str(ROOT)}
        )
        assert process.stdout is not None
        self.assertIn("Listening on", process.stdout.readline())
        self.assertEqual(b"{}", self.ask(port))
        self.hear("READY=1")
        self.assertIn("systemd:domain=INET:name=http", self.stop(process))
