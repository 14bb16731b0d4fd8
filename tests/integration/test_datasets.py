"""The daemon beside a dataset that others use too."""

import json
import os
import sqlite3
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from tests.dataset.making import fill, ids_of, row_of
from tests.integration.daemon import PATIENCE, Daemon, DaemonTestCase, free_port
from vllmsim.dataset.records import make_row
from vllmsim.inference import Tokens


class DatasetTests(DaemonTestCase):
    """What clients get while a file comes and goes."""

    folder: ClassVar[Path]
    path: ClassVar[Path]
    locking: ClassVar[sqlite3.Connection]

    @classmethod
    def setUpClass(cls) -> None:
        """Start a daemon beside a file that is locked."""
        cls.folder = Path(cls.enterClassContext(TemporaryDirectory()))
        cls.path = cls.folder / "conversations.sqlite3"
        fill(cls.path, [row_of("hello", "I ", "am ", "fine.")])
        cls.locking = sqlite3.connect(cls.path, isolation_level=None)
        cls.addClassCleanup(cls.locking.close)
        cls.locking.execute("BEGIN EXCLUSIVE")
        cls.words = ("m", "--dataset-path", str(cls.path), "--max-num-seqs", "64")
        super().setUpClass()

    def ask(self, prompt: str = "hello", daemon: Daemon | None = None, **fields: Any) -> str:
        """Ask for a completion, which must be there."""
        body = json.dumps({"prompt": prompt, **fields}).encode()
        address = (daemon or self.daemon).url("/v1/completions")
        request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            said: str = json.load(response)["choices"][0]["text"]
        return said

    def await_answer(self, expected: str) -> None:
        """Ask until the dataset answers."""
        begin = time.monotonic()
        while self.ask() != expected:
            self.assertLess(time.monotonic() - begin, PATIENCE)
            time.sleep(0.05)

    def test_comes_and_goes(self) -> None:
        """No request fails, whatever becomes of the file, and once it can be used it is."""
        self.assertNotEqual("I am fine.", self.ask())
        self.assertIn("Answers are random, as a dataset cannot be used: database is locked", self.daemon.output())
        self.locking.execute("ROLLBACK")
        self.await_answer("I am fine.")
        self.locking.execute("BEGIN EXCLUSIVE")
        self.assertNotEqual("I am fine.", self.ask())
        self.locking.execute("ROLLBACK")
        self.await_answer("I am fine.")
        os.truncate(self.path, 4096)
        self.ask()
        self.path.unlink()
        self.ask()
        other = self.folder / "other"
        fill(other, [row_of("hello", "Good ", "day.")])
        other.rename(self.path)
        self.await_answer("Good day.")
        with ThreadPoolExecutor(16) as clients:
            writer = clients.submit(self.write)
            said = list(clients.map(lambda _: self.ask(), range(200)))
            writer.result()
        self.assertEqual(200, len(said))
        self.await_answer("Good day.")

    def write(self) -> None:
        """Write to the file again and again, and end with what was there."""
        for number in range(20):
            fill(self.path, [row_of("more", f"{number}")])
            time.sleep(0.01)

    def test_processes(self) -> None:
        """Ranks in processes answer alike, from one file without an index, which they go through at the same time."""
        path = self.folder / "large.sqlite3"
        fill(path, [make_row(ids_of(f"q{n}"), Tokens(range(200), [f"{n} "] * 200)) for n in range(2000)])
        words = ("m", "--dataset-path", str(path), "--data-parallel-size", "2")
        processes = ("--data-parallel-processes", "--data-parallel-supervisor-port", str(free_port()))
        daemon = self.start(*words, *processes, port=free_port(2))
        daemon.wait()
        expected = "7 " * 200
        self.assertEqual(expected, self.ask("q7", daemon, max_tokens=300))
        daemon.port += 1
        daemon.wait()
        self.assertEqual(expected, self.ask("q7", daemon, max_tokens=300))
        self.assertTrue(path.with_name("large.sqlite3.vllmsim-index").exists())
