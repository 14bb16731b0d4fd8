"""What tests of outages share: daemons that are asked and looked at while something around them is broken."""

import json
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from functools import cache
from pathlib import Path
from typing import Any, Final

from tests.integration.daemon import PATIENCE, Daemon, DaemonsTestCase, until

TWISTD: Final = [str(Path(sys.executable).with_name("twistd")), "-n", "--pidfile="]


@cache
def may_mount() -> bool:
    """Tell whether this process may have file systems of its own."""
    if not shutil.which("unshare"):
        return False
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return not subprocess.run(probe, capture_output=True, check=False).returncode


class Disk:
    """A small file system that a program sees at a folder, and nobody else does there.

    :param folder: where it is.
    :param size: how many KiB it has.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self._size = size
        self._pid = 0

    def program(self, *words: str) -> list[str]:
        """Make the words that start a program which sees it."""
        script = f'mount -t tmpfs -o size={self._size}k tmpfs "$0" && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", script, str(self.folder), *words]

    def start(self, case: DaemonsTestCase, *words: str, twistd: tuple[str, ...] = ()) -> Daemon:
        """Start a daemon that sees it."""
        daemon = case.start(*words, program=self.program(*TWISTD, *twistd, "vllmsim"))
        self._pid = daemon.process.pid
        daemon.wait()
        return daemon

    def path(self, name: str) -> Path:
        """Find a file on it."""
        return Path(f"/proc/{self._pid}/root{self.folder}") / name

    def fill(self) -> None:
        """Leave no room on it."""
        with self.path("ballast").open("ab", 0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                pass

    def clear(self) -> None:
        """Make room again."""
        self.path("ballast").unlink()


class FaultTestCase(DaemonsTestCase):
    """Tests whose daemons each have a fault of their own."""

    def ask(self, daemon: Daemon, path: str = "/v1/completions", **body: Any) -> tuple[int, Any]:
        """Have something answered.

        :return: the status and the answer.
        """
        body = body or {"prompt": "one two", "max_tokens": 2}
        request = urllib.request.Request(
            daemon.url(path), json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def served(self, daemon: Daemon, count: int = 1) -> None:
        """Have ordinary requests served."""
        for _ in range(count):
            status, answer = self.ask(daemon)
            self.assertEqual(200, status, answer)

    def rest(self, daemon: Daemon) -> None:
        """Wait until nothing runs or waits."""
        until(lambda: not daemon.under_way())

    def ended(self, daemon: Daemon) -> str:
        """Stop a daemon, which ends well.

        :return: its log, which tells of no fault in the program.
        """
        self.assertEqual(0, daemon.stop())
        output = daemon.output()
        for word in ("Traceback", "Unhandled"):
            self.assertNotIn(word, output)
        return output


def figure(text: str) -> None:
    """Say what has been found, for who runs this to learn of it."""
    sys.stderr.write(f"\n{text}\n")
