"""Servers of files that do not do as they should, while a daemon that wants one of them starts."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from unittest import skipUnless
from unittest.mock import patch

from tests.faults.case import TWISTD, Disk, FaultTestCase, figure, may_mount
from tests.faults.clients import FULL
from tests.faults.neighbour import (
    Behaviour,
    Neighbour,
    answering,
    closing,
    dripping,
    endless,
    garbage,
    redirecting,
    refusing,
    silent,
    truncating,
)
from tests.folders import make_folder
from tests.integration.daemon import PATIENCE, Daemon, until

QUICK = 10.0
"""Seconds in which a daemon stops on a busy machine that waits for nothing."""
LASTING: Mapping[str, tuple[Behaviour, str]] = {
    "moved to a file": (redirecting("file:///etc/passwd"), "'file:///etc/passwd' is no address of http or https"),
    "no dataset": (answering("200 OK", b"<p>hello"), "dataset"),
    "missing": (answering("404 Not Found"), "status 404"),
    "moved in a circle": (redirecting("/dataset"), "redirects were followed"),
    "moved to no scheme": (redirecting("gopher://127.0.0.1/"), "is no address of http or https"),
    "nothing": (answering("200 OK"), "empty"),
    "forbidden": (answering("403 Forbidden", b"<p>no"), "status 403"),
}
"""What will not be better, and what is said of it."""
PASSING: Mapping[str, Behaviour] = {
    "silent": silent,
    "endless": endless,
    "truncated": truncating,
    "429": answering("429 Too Many Requests", b"", "Retry-After: 60"),
    "closing": closing,
    "garbage": garbage,
    "500": refusing,
    "slow": dripping,
}
"""What may be better, so that it is waited for."""
SOME = 3


class HubTests(FaultTestCase):
    """Daemons that want a dataset, or the files of a tokenizer."""

    def setUp(self) -> None:
        """Have a folder for what they want."""
        self.folder = make_folder(self)

    def wanting(self, behave: Behaviour, name: str) -> tuple[Daemon, Neighbour, Path]:
        """Start a daemon that wants a dataset."""
        neighbour = Neighbour(behave)
        self.addCleanup(neighbour.close)
        place = self.folder / name.replace(" ", "-")
        url = f"http://127.0.0.1:{neighbour.port}/dataset"
        return self.start("--dataset-path", str(place / "dataset"), "--dataset-url", url), neighbour, place

    def test_lasting(self) -> None:
        """What will not be better ends the start with one line and status 1, and leaves nothing behind."""
        chosen = list(LASTING)[: None if FULL else SOME]
        started = {name: self.wanting(LASTING[name][0], name) for name in chosen}
        for name, (daemon, _, place) in started.items():
            status = daemon.process.wait(3 * PATIENCE)
            output = daemon.output()
            self.assertEqual(1, status, (name, output))
            told = [line for line in output.splitlines() if "annot start" in line]
            self.assertEqual(1, len(told), (name, output))
            self.assertIn(LASTING[name][1], told[0])
            self.assertNotIn("Traceback", output)
            self.assertEqual([], list(place.iterdir()), name)
        figure(f"downloads with {len(chosen)} lasting faults: each 1 line and status 1, 0 files left")

    def test_passing(self) -> None:
        """While one waits for what may be better, SIGTERM ends that at once, and nothing useless is left."""
        chosen = list(PASSING)[: None if FULL else SOME]
        started = {name: self.wanting(PASSING[name], name) for name in chosen}
        slowest = 0.0
        for name, (daemon, neighbour, place) in started.items():
            until(lambda neighbour=neighbour: neighbour.met)  # type: ignore[misc]
            time.sleep(0.2)
            self.assertLess(daemon.resident(), 200 << 10)
            begin = time.monotonic()
            self.ended(daemon)
            slowest = max(slowest, time.monotonic() - begin)
            self.assertEqual([], list(place.iterdir()), name)
        self.assertLess(slowest, QUICK)
        figure(f"downloads with {len(chosen)} passing faults: stopped by SIGTERM in {slowest:.1f} s, 0 files left")

    def test_tokenizer(self) -> None:
        """A hub that has no tokenizer to give is one line and status 1."""
        faults = {"no JSON": answering("200 OK", b"<p>hello"), "moved": redirecting("file:///etc/passwd")}
        for behave in faults.values() if FULL else [faults["moved"]]:
            neighbour = Neighbour(behave)
            self.addCleanup(neighbour.close)
            settings = {"HF_ENDPOINT": f"http://127.0.0.1:{neighbour.port}", "HF_HUB_CACHE": str(self.folder / "hub")}
            with patch.dict(os.environ, {**settings, "HF_HUB_OFFLINE": ""}):
                daemon = self.start("--tokenizer", "some/model")
            self.assertEqual(1, daemon.process.wait(PATIENCE))
            output = daemon.output()
            self.assertEqual(1, sum("annot start" in line for line in output.splitlines()), output)
            self.assertNotIn("Traceback", output)
            self.assertEqual([], [path for path in self.folder.rglob("*") if path.is_file()])

    @skipUnless(may_mount(), "needs the right to mount")
    def test_full(self) -> None:
        """A download for which the disk has no room ends the start with one line, and gives the room back."""
        disk = Disk(self.folder, 2048)
        neighbour = Neighbour(endless)
        self.addCleanup(neighbour.close)
        words = ("--dataset-path", str(self.folder / "dataset"), "--dataset-url", f"http://127.0.0.1:{neighbour.port}/")
        script = '"$@"; status=$?; ls -A "$0"; exit $status'
        program = disk.program("sh", "-c", script, str(self.folder), *TWISTD, "vllmsim")
        daemon = self.start(*words, program=program)
        self.assertEqual(1, daemon.process.wait(PATIENCE))
        lines = daemon.output().splitlines()
        self.assertEqual(1, sum("No space left on device" in line for line in lines), lines)
        # Nothing is listed behind it.
        self.assertIn("Server Shut Down", lines[-1])
