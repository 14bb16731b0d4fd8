"""Daemons that download something before they serve, as processes."""

import hashlib
import http.server
import json
import os
import sqlite3
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.downloading.fakeweb import new_directory
from tests.integration.daemon import PATIENCE, Daemon, free_port
from tests.tokenization.fakehub import COMMIT


def dataset() -> bytes:
    """Make a dataset of one conversation, with much beside it."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute(
            "CREATE TABLE llmd (id INTEGER PRIMARY KEY, prompt_hash BLOB NOT NULL, gen_tokens JSON NOT NULL,"
            " n_gen_tokens INTEGER NOT NULL)"
        )
        database.execute("INSERT INTO llmd VALUES (1, ?, ?, 1)", (b"x" * 32, '{"Tokens": [1], "Strings": ["a"]}'))
        database.execute("CREATE TABLE more (data BLOB)")
        database.execute("INSERT INTO more VALUES (?)", (os.urandom(300_000),))
        database.commit()
        return database.serialize()


CONTENT = dataset()
TOKENIZER = b'{"version": "1.0"}'


class Files(http.server.BaseHTTPRequestHandler):
    """Serves a dataset and a hub with one model.

    :cvar go: lets the second half of the dataset out.
    """

    go: threading.Event
    asked: list[str]

    def do_HEAD(self) -> None:
        """Tell of a file."""
        self.do_GET()

    def do_GET(self) -> None:
        """Send a file."""
        self.asked.append(self.path)
        name = self.path.rpartition("/")[2]
        content = {"dataset": CONTENT, "tokenizer.json": TOKENIZER}.get(name)
        self.send_response(200 if content else 404)
        self.send_header("Content-Length", str(len(content or b"")))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.md5(content or b"", usedforsecurity=False).hexdigest()}"')
        self.end_headers()
        if self.command == "HEAD" or content is None:
            return
        half = len(content) // 2
        self.wfile.write(content[:half])
        if name != "dataset" or self.go.wait(PATIENCE):
            self.wfile.write(content[half:])

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class PreparingTests(SynchronousTestCase):
    """One server of files, and daemons that want some."""

    def setUp(self) -> None:
        """Start the server."""
        self.directory = new_directory(self)
        self.go = threading.Event()
        self.asked: list[str] = []
        handler = type("Handler", (Files,), {"go": self.go, "asked": self.asked})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        self.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        self.addCleanup(server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)
        self.addCleanup(self.go.set)
        environment = {"HF_ENDPOINT": self.url, "HF_HUB_CACHE": str(self.directory / "hub"), "HF_HUB_OFFLINE": ""}
        for name, value in environment.items():
            self.patch_environment(name, value)
        self.path = self.directory / "new" / "dataset"
        self.words = ("--dataset-path", str(self.path), "--dataset-url", f"{self.url}/dataset")

    def patch_environment(self, name: str, value: str) -> None:
        """Set a variable until the test is over."""
        before = os.environ.get(name)
        os.environ[name] = value
        self.addCleanup(lambda: os.environ.pop(name) if before is None else os.environ.update({name: before}))

    @contextmanager
    def daemon(self, *words: str, port: int | None = None) -> Iterator[Daemon]:
        """Start a daemon."""
        daemon = Daemon(*words, port=port)
        try:
            yield daemon
        finally:
            daemon.stop()
            daemon.log.close()

    def wait_for(self, condition: Any) -> None:
        """Wait until something is so."""
        begin = time.monotonic()
        while not condition():
            self.assertLess(time.monotonic() - begin, PATIENCE)
            time.sleep(0.01)

    def test_served_afterwards(self) -> None:
        """The port opens when everything is there, and not before; then nothing is downloaded again."""
        words = (*self.words, "--dataset-sha256", hashlib.sha256(CONTENT).hexdigest())
        with self.daemon(*words) as daemon:
            self.wait_for(lambda: "/dataset" in self.asked)
            self.assertRaises(urllib.error.URLError, urllib.request.urlopen, daemon.url("/health"))
            self.go.set()
            daemon.wait()
            self.assertEqual(CONTENT, self.path.read_bytes())
            self.assertEqual([], [each.name for each in self.path.parent.iterdir() if ".part" in each.name])
            self.assertEqual(0, daemon.stop())
            self.assertIn("Application startup complete.", daemon.output())

    def test_failed(self) -> None:
        """What cannot be had is one line and status 1, and nothing is left behind."""
        words = (*self.words[:-1], f"{self.url}/nothing")
        with self.daemon(*words) as daemon:
            self.assertEqual(1, daemon.process.wait(PATIENCE))
            said = f"Cannot start: {self.url}/nothing answers with status 404: it is not there."
            self.assertIn(said, daemon.output())
            self.assertNotIn("Traceback", daemon.output())
            self.assertEqual([], list(self.path.parent.iterdir()))

    def test_stopped(self) -> None:
        """SIGTERM stops a download at once and in order; the next start goes on with it."""
        with self.daemon(*self.words) as daemon:
            self.wait_for(lambda: self.path.with_name("dataset.part").exists() and "/dataset" in self.asked)
            self.wait_for(lambda: self.path.with_name("dataset.part.etag").exists())
            begin = time.monotonic()
            self.assertEqual(0, daemon.stop())
            self.assertLess(time.monotonic() - begin, 5)
            self.assertNotIn("Traceback", daemon.output())
            self.assertFalse(self.path.exists())
        self.go.set()
        with self.daemon(*self.words) as daemon:
            daemon.wait()
            self.assertEqual(CONTENT, self.path.read_bytes())

    def test_port_in_use(self) -> None:
        """A port that is in use by then is one line and status 1."""
        self.go.set()
        with self.daemon() as first:
            first.wait()
            with self.daemon(*self.words, port=first.port) as second:
                self.assertEqual(1, second.process.wait(PATIENCE))
                self.assertIn("Cannot start: cannot listen on", second.output())
                self.assertNotIn("Traceback", second.output())

    def test_processes(self) -> None:
        """With a process for each rank everything is downloaded once, before the first of them starts."""
        self.go.set()
        port = free_port(2)
        supervisor = str(free_port())
        words = (*self.words, "-dpm", "-dp", "2", "--data-parallel-supervisor-port", supervisor)
        with self.daemon(*words, port=port) as daemon:
            daemon.wait()
            self.assertEqual(CONTENT, self.path.read_bytes())
            self.assertEqual(1, self.asked.count("/dataset"))
            self.assertEqual("list", json.loads(daemon.get("/v1/models"))["object"])

    def test_two_daemons(self) -> None:
        """Of two daemons that want the same file one downloads it, and both serve."""
        with self.daemon(*self.words) as first, self.daemon(*self.words) as second:
            self.wait_for(lambda: "Another process downloads dataset" in first.output() + second.output())
            self.go.set()
            first.wait()
            second.wait()
            self.assertEqual(1, self.asked.count("/dataset"))
            self.assertEqual(CONTENT, self.path.read_bytes())

    def test_offline(self) -> None:
        """Offline, a tokenizer that is not in the cache is named."""
        self.patch_environment("HF_HUB_OFFLINE", "1")
        with self.daemon("--tokenizer", "org/model") as daemon:
            self.assertEqual(1, daemon.process.wait(PATIENCE))
            self.assertIn("Cannot start: tokenizer.json of org/model is not in", daemon.output())
            self.assertEqual([], self.asked)

    def test_never_unasked(self) -> None:
        """A daemon that is given names of models asks nobody about them."""
        with self.daemon("--model", "org/model", "--served-model-name", "org/other") as daemon:
            daemon.wait()
            self.assertEqual([], self.asked)

    def test_hub(self) -> None:
        """A tokenizer is downloaded from the hub into the cache before the port opens."""
        with self.daemon("--tokenizer", "org/model"):
            place = self.directory / "hub" / "models--org--model" / "snapshots" / COMMIT / "tokenizer.json"
            self.wait_for(place.is_file)
            self.assertEqual(TOKENIZER, Path(place).read_bytes())
