"""The daemon as a process, on a free port of this machine."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryFile
from types import MappingProxyType
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parents[2]
PATIENCE = 20.0
_GAUGES = re.compile(r"^vllm:num_requests_(?:running|waiting)\{.*\} (\S+)$", re.MULTILINE)
_PAGE = os.sysconf("SC_PAGE_SIZE")


def free_port(count: int = 1) -> int:
    """Find a port that nobody listens on, with free ones behind it.

    It is below those that connections go out from, of which one could take it meanwhile.
    """
    while True:
        port = random.randrange(10_000, 32_000)
        try:
            for number in range(count):
                with socket.socket() as each:
                    each.bind(("127.0.0.1", port + number))
        except OSError:
            continue
        return port


def until(holds: Callable[[], object], what: str | Callable[[], str] = "so", patience: float = PATIENCE) -> None:
    """Wait until something holds.

    :param what: what it would be then, or tells what is wrong if it never is.
    :param patience: seconds after which it never is.
    """
    end = time.monotonic() + patience
    while not holds():
        if time.monotonic() > end:
            raise AssertionError(f"never {what}" if isinstance(what, str) else what())
        time.sleep(0.02)


class Daemon:
    """A running ``twistd vllmsim``.

    :param words: its command line.
    :param program: how it is started: twistd unless said otherwise.
    :param variables: of its environment, beside our own.
    """

    def __init__(
        self,
        *words: str,
        port: int | None = None,
        program: list[str] | None = None,
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.port = port or free_port()
        self.log = TemporaryFile("w+")  # noqa: SIM115 - it lives as long as the process
        command = program or [str(Path(sys.executable).with_name("twistd")), "-n", "--pidfile=", "vllmsim"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("COV_", "POD_"))}
        self.process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(self.port), *words],
            cwd=ROOT,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            env={**environment, **variables},
        )

    def url(self, path: str = "") -> str:
        """Make an address of the first rank."""
        return f"http://127.0.0.1:{self.port}{path}"

    def get(self, path: str) -> bytes:
        """Get a path, whatever its status."""
        try:
            with urllib.request.urlopen(self.url(path), timeout=PATIENCE) as response:
                return bytes(response.read())
        except urllib.error.HTTPError as error:
            return error.read()

    def wait(self) -> float:
        """Wait until it is healthy.

        :return: seconds it took from here.
        """
        begin = time.monotonic()
        while time.monotonic() - begin < PATIENCE:
            try:
                self.get("/health")
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.01)
            else:
                return time.monotonic() - begin
        raise AssertionError(f"the daemon did not start:\n{self.output()}")

    def under_way(self) -> float:
        """Count the sequences that run or wait, by its metrics."""
        found = _GAUGES.findall(self.get("/metrics").decode())
        assert found
        return sum(map(float, found))

    def resident(self) -> int:
        """Tell how many KiB of it are in memory."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text("ascii").split()[1]
        return int(pages) * _PAGE // 1024

    def descriptors(self) -> int:
        """Count the files and sockets that it has open."""
        return sum(1 for _ in Path(f"/proc/{self.process.pid}/fd").iterdir())

    def output(self) -> str:
        """Read what it has logged."""
        self.log.seek(0)
        return self.log.read()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop it.

        :return: its exit status.
        """
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.process.wait()


class DaemonsTestCase(SynchronousTestCase):
    """Tests that start daemons of their own."""

    def start(self, *words: str, **more: Any) -> Daemon:
        """Start one for this test."""
        daemon = Daemon(*words, **more)
        self.addCleanup(daemon.log.close)
        self.addCleanup(daemon.stop)
        return daemon

    def post(self, path: str, body: bytes) -> bytes:
        """Make a POST request of JSON, whose connection ends with its answer."""
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
        return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


class DaemonTestCase(DaemonsTestCase):
    """Tests that talk to a running daemon."""

    words: tuple[str, ...] = ()
    daemon: Daemon

    @classmethod
    def setUpClass(cls) -> None:
        """Start the daemon for all tests of the class."""
        cls.daemon = Daemon(*cls.words)
        cls.addClassCleanup(cls._stop)
        cls.daemon.wait()

    @classmethod
    def _stop(cls) -> None:
        status = cls.daemon.stop()
        output = cls.daemon.output()
        cls.daemon.log.close()
        if status or "Traceback" in output or "Unhandled" in output:
            raise AssertionError(f"the daemon ended with status {status}:\n{output}")

    def raw(self, request: bytes) -> socket.socket:
        """Open a connection and send bytes."""
        connection = socket.create_connection(("127.0.0.1", self.daemon.port), PATIENCE)
        self.addCleanup(connection.close)
        connection.sendall(request)
        return connection
