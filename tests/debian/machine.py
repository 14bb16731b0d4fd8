"""A machine with systemd as its first process, in a chroot: what a service may do is really forbidden there."""

import subprocess
import time
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

from tests.debian.chroot import Chroot

_PATIENCE: Final = 60.0


class Machine:
    """Boots, with a loopback network of its own."""

    def __init__(self, chroot: Chroot) -> None:
        self._console = TemporaryFile("w+")  # noqa: SIM115 - it lives as long as the process
        self._outer = subprocess.Popen(
            [
                *("unshare", "--mount", "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot"),
                *("--private-network", f"--directory={chroot.root}"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._console,
            stderr=subprocess.STDOUT,
        )
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            if self._first() and self.run("systemctl is-system-running").strip() in {"running", "degraded"}:
                return
            time.sleep(0.2)
        self.stop()
        raise AssertionError(f"it does not boot:\n{self.console()}")

    def _first(self) -> str:
        """Find its first process."""
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children")
        return children.read_text("ascii").strip() if children.exists() else ""

    def run(self, line: str) -> str:
        """Run a line of shell in it, as root in root's folder.

        :return: all that it said.
        """
        enter = ["nsenter", f"--target={self._first()}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]
        variables = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/root", "TERM=dumb"]
        command = [*enter, "env", "-i", *variables, "sh", "-c", f"cd /root\n{line}"]
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=_PATIENCE,
        )
        return done.stdout

    def console(self) -> str:
        """Read what it has said at the start."""
        self._console.seek(0)
        return self._console.read()

    def stop(self) -> None:
        """Turn it off."""
        self._outer.terminate()
        try:
            self._outer.wait(_PATIENCE)
        finally:
            self._outer.kill()
            self._outer.wait()
