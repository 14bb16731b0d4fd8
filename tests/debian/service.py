"""Starts a unit's program as systemd would, as far as that can be done by hand.

What the unit says of users, folders, variables and sockets is done; what it forbids beyond that is not.
"""

import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from itertools import count
from tempfile import TemporaryFile
from typing import Final

from tests.debian.chroot import Chroot
from tests.debian.units import Unit

_USER: Final = 61500
"""One of those that systemd lends to services."""
_PATIENCE: Final = 20.0
_numbers = count()
_PASS: Final = "import os, sys; fd = int(sys.argv[1]); fd < 0 or os.dup2(fd, 3); os.execvp(sys.argv[2], sys.argv[2:])"


class Running:
    """A service that runs in a chroot.

    :param port: of the loopback address, on which it is told to listen.
    :param watchdog: seconds within which it must say that it is alive.
    :param listener: a socket that it is handed.
    """

    def __init__(
        self, chroot: Chroot, unit: Unit, port: int, watchdog: float = 0.0, listener: socket.socket | None = None
    ) -> None:
        self.port = port
        name = f"vllmsim-test-{os.getpid()}-{next(_numbers)}"
        self._notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notified.bind(f"\0{name}")
        self.log = TemporaryFile("w+")  # noqa: SIM115 - it lives as long as the process
        self._said: list[str] = []
        facts = os.fstat(self.log.fileno())
        variables = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "NOTIFY_SOCKET": f"@{name}",
            "JOURNAL_STREAM": f"{facts.st_dev}:{facts.st_ino}",
            **_variables(chroot, unit),
        }
        if watchdog:
            variables["WATCHDOG_USEC"] = str(round(watchdog * 1e6))
        if listener:
            variables |= {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "http"}
        folders = [f"{_PLACES[key]}/{unit.one(key)}" for key in _PLACES]
        words = unit.command("ExecStart", 0, variables)
        descriptor = listener.fileno() if listener else -1
        command = chroot.confined(words, folders, _USER, variables)
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PASS, str(descriptor), *command],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            pass_fds=[descriptor] if listener else [],
        )

    def hears(self, line: str) -> float:
        """Wait until it tells a line.

        :return: seconds since the start.
        """
        while line not in self._said:
            if not select.select([self._notified], [], [], _PATIENCE)[0]:
                raise AssertionError(f"it has not told {line}, but {self._said}:\n{self.output()}")
            self._said += self._notified.recv(1 << 16).decode().splitlines()
        self._said.remove(line)
        return time.monotonic() - self.began

    def get(self, path: str) -> bytes:
        """Ask it."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=_PATIENCE) as response:
            return bytes(response.read())

    def output(self) -> str:
        """Read what it has logged."""
        self.log.seek(0)
        return self.log.read()

    def stop(self) -> int:
        """Stop it, and close what is open.

        :return: its exit status.
        """
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(_PATIENCE)
        finally:
            self.process.kill()
            self.process.wait()

    def close(self) -> None:
        """Close what is open here."""
        self._notified.close()
        self.log.close()


_PLACES: Final[Mapping[str, str]] = {
    "StateDirectory": "/var/lib",
    "CacheDirectory": "/var/cache",
    "RuntimeDirectory": "/run",
}


def _variables(chroot: Chroot, unit: Unit) -> dict[str, str]:
    """Find what the unit, and the file that it names, put into the environment."""
    found = unit.environment()
    path = chroot.root / unit.one("EnvironmentFile").removeprefix("-/")
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        if line and not line.startswith("#"):
            name, value = line.split("=", 1)
            found[name] = "".join(shlex.split(value))
    return found
