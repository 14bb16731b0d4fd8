"""Datasets that are none, or break while they are served: each is refused in a line, or answers are random.

Most are opened here, as the daemon opens them; a share is put in the place of what a daemon serves, and before a start.
Inputs of ``vllmsim-dataset`` are read here too.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from typing import Any, ClassVar, Final

from tests.dataset.making import fill, prompt_of, row_of
from tests.fuzz.daemon import FuzzTestCase
from tests.fuzz.report import Refused
from tests.fuzz.sqlitefiles import PROMPT, SqliteFiles
from tests.integration.daemon import PATIENCE, ROOT, Daemon, free_port
from vllmsim.dataset import corpus as corpus_module
from vllmsim.dataset.corpus import open_corpus
from vllmsim.dataset.database import DatasetError, Stamp
from vllmsim.dataset.records import TABLE, BadRecordError, hash_ids, hash_texts
from vllmsim.scripts.dataset.dialogues import exchanges
from vllmsim.scripts.dataset.faults import BadItem, BuildError
from vllmsim.scripts.dataset.reading import Source

_ONE_IN_SERVED: Final = 8
_ONE_IN_START: Final = 150
_LOOKUPS: Final = 5
_INPUT: Final = (ROOT / "examples/conversations.jsonl").read_bytes()
_INSERTED: Final = (
    b"", b"\n", b"[", b"]", b"{", b"}", b",", b'"', b"\\", b"\0", b"\xff", b"\xef\xbb\xbf", b"null", b"1e999",
    b"9" * 5000, b'"\\ud800"', b"[" * 5000, b'{"a":' * 5000, b'"role": 7, ', b'"content": [{"type": "image_url"}], ',
    b'"messages": ', b'"conversations": ', b'"prompt": ', b'"tool_calls": [], ',
)  # fmt: skip


class SqliteTests(FuzzTestCase):
    """A daemon that answers from a file which others write."""

    surface = "SQLite"
    folder: ClassVar[Path]
    served: ClassVar[Path]
    good: ClassVar[Path]

    @classmethod
    def setUpClass(cls) -> None:
        """Start the daemon on a whole file."""
        cls.folder = Path(mkdtemp()).resolve()
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.served, cls.good = cls.folder / "served.sqlite3", cls.folder / "good.sqlite3"
        fill(cls.good, [row_of(PROMPT, *["I "] * 5), *(row_of(f"{n}", *["a "] * n) for n in range(1, 400))])
        shutil.copy(cls.good, cls.served)
        cls.daemon = Daemon(*cls.words, "--dataset-path", str(cls.served))
        cls.addClassCleanup(cls._stop)
        cls.daemon.wait()

    def setUp(self) -> None:
        """Keep side files of small databases too, and wait for no lock."""
        self.patch(corpus_module, "_SMALL", 0)
        self.patch(corpus_module, "PATIENCE", 0)
        open_corpus(str(self.good), TABLE, Stamp.of(str(self.good)), in_memory=False).close()

    def test_survives(self) -> None:
        """Whatever a file has in it, it is refused in a line, and requests are served."""
        self.fuzz(120, self.one)

    def one(self, chance: Random, number: int) -> None:
        """Play one file."""
        if chance.random() < 0.15:
            self.input(chance)
            return
        place = self.folder / f"{number}"
        place.mkdir()
        try:
            path = place / "made.sqlite3"
            SqliteFiles(chance, path, self.good).make()
            if chance.randrange(_ONE_IN_SERVED) == 0:
                self.serve(path, at_once=chance.random() < 0.5)
            self.within(lambda: self.open(chance, path))
        finally:
            shutil.rmtree(place)

    def within(self, function: Callable[[], object]) -> None:
        """Do something that must come to an end soon."""
        outcome: list[Any] = [AssertionError(f"it has not ended in {PATIENCE} seconds")]

        def run() -> None:
            try:
                function()
                outcome[0] = None
            except BaseException as error:  # noqa: BLE001 - it is raised below
                outcome[0] = error

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(PATIENCE)
        if outcome[0] is not None:
            raise outcome[0]

    def open(self, chance: Random, path: Path) -> None:
        """Open a file, and look some answers up."""
        started = chance.randrange(_ONE_IN_START) == 0
        prompt = prompt_of(PROMPT)
        hashes = [hash_ids(prompt.ids), *hash_texts(prompt.prompt)]
        try:
            corpus = open_corpus(str(path), TABLE, Stamp.of(str(path)), in_memory=chance.random() < 0.3)
            try:
                for _ in range(_LOOKUPS):
                    try:
                        corpus.find(hashes, chance.randrange(9), chance.randrange(9, 99), chance)
                    except BadRecordError as error:
                        self.plain(str(error))
            finally:
                corpus.close()
        except DatasetError as error:
            self.plain(str(error))
            if started:
                self.start_fails(path)
            raise Refused from None

    def plain(self, message: str) -> None:
        """Hold that a message is a line."""
        self.assertTrue(message.isprintable(), message)
        self.assertLess(len(message), 5000)

    def serve(self, path: Path, *, at_once: bool) -> None:
        """Put a file in the place of the one that is served, and ask for an answer; then have the good one back.

        :param at_once: whether it is another file then, and not the same with other content.
        """
        for each in (path, self.good):
            if at_once or not each.is_file() or not self.served.is_file():
                self.put(each)
            else:
                with self.served.open("r+b") as file:
                    size = min(each.stat().st_size, 1 << 24)
                    file.truncate(size // 2)
                    file.write(each.read_bytes()[: 1 << 24] if each.stat().st_size == size else b"x" * 999)
            self.complete()

    def put(self, path: Path) -> None:
        """Put a copy of something in the place of what is served."""
        if self.served.is_dir() and not self.served.is_symlink():
            self.served.rmdir()
        copy = self.folder / "copy"
        if path.is_dir():
            self.served.unlink(missing_ok=True)
            self.served.mkdir()
            return
        if path.is_symlink():
            copy.symlink_to(path.readlink())
        elif path.is_fifo():
            os.mkfifo(copy)
        elif path.is_file():
            subprocess.run(["cp", "--sparse=always", str(path), str(copy)], check=True)
        else:
            self.served.unlink(missing_ok=True)
            return
        copy.replace(self.served)

    def start_fails(self, path: Path) -> None:
        """Hold that a start with a file ends with status 1 and a line of ours."""
        words = ("--port", str(free_port()), "--host", "127.0.0.1", "--dataset-path", str(path))
        command = [sys.executable, "-m", "vllmsim", *words]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=PATIENCE, check=False)
        said = ended.stdout.decode() + ended.stderr.decode()
        self.assertEqual(1, ended.returncode, said)
        self.assertRegex(said, r"(?m)^vllmsim: .*database")
        self.assertNotIn("Traceback", said)

    def input(self, chance: Random) -> None:
        """Read an input of the command that makes datasets."""
        lines = _INPUT.splitlines(keepends=True)
        data = bytearray(b"".join(chance.sample(lines, chance.randrange(1, min(9, len(lines))))))
        if chance.random() < 0.4:
            data = bytearray(json.dumps([json.loads(each) for each in chance.sample(lines, 3)]).encode())
        for _ in range(chance.choice((0, 1, 1, 3, 20))):
            at = chance.randrange(len(data) + 1)
            data[at : at + chance.choice((0, 0, 1, 5, 100))] = chance.choice((*_INSERTED, chance.randbytes(1)))
        wrong = False
        try:
            for item in Source("input", BytesIO(bytes(data)), len(data)).items():
                try:
                    if isinstance(item.value, BadItem):
                        raise item.value
                    list(exchanges(item.value, None, "both", asked=chance.random() < 0.5))
                except BadItem as error:
                    self.plain(error.reason)
                    wrong = True
        except BuildError as error:
            self.plain(str(error))
            wrong = True
        if wrong:
            raise Refused
