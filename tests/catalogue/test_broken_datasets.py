"""Fault 2: datasets that break while the server runs, which ended the original's process."""

import json
import os
import random
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar, Final

from tests.catalogue.case import COMPLETIONS, BrokenTestCase
from tests.dataset.making import fill, ids_of, row_of
from tests.integration.daemon import PATIENCE
from vllmsim.dataset.records import hash_ids

BAD_ANSWERS: Final = (
    *(
        "",
        "{",
        '{"Tokens": [1,',
        "[]",
        "{}",
        "null",
        "true",
        "7",
        "1e999",
        '"Hi"',
        "[[1]]",
        "\0",
        "\ufeff[]",
        "[" * 9999,
    ),
    *(
        '{"Tokens": null, "Strings": null}',
        '{"Tokens": {"a": 1}, "Strings": 7}',
        '{"Tokens": [-1]}',
        '{"Strings": [null]}',
    ),
    *('{"Tokens": [4294967296]}', '{"Tokens": [1e30]}', '{"Tokens": [1.5], "Strings": ["a"]}', '["\\ud800"]'),
    *(b"\xff\xfe", b"", 7, 2.5, float("inf")),
)
"""What ``gen_tokens`` may have that is no answer."""


def overwrite(path: Path, first: int) -> None:
    """Write nonsense over some bytes of a file, from a place on."""
    chance = random.Random(first)
    content = bytearray(path.read_bytes())
    for _ in range(200):
        content[chance.randrange(first, len(content))] = chance.randrange(256)
    path.write_bytes(content)


def instead(path: Path, make: Callable[[], object]) -> None:
    """Have something else in the place of a file."""
    path.unlink()
    make()


STATEMENTS: Final = (
    "DELETE FROM llmd",
    "DROP TABLE llmd",
    "ALTER TABLE llmd RENAME TO other",
    "ALTER TABLE llmd DROP COLUMN gen_tokens",
    "ALTER TABLE llmd RENAME COLUMN n_gen_tokens TO length",
    "UPDATE llmd SET gen_tokens = zeroblob(30000000), n_gen_tokens = -1",
    "UPDATE llmd SET n_gen_tokens = 9223372036854775807",
    "ALTER TABLE llmd RENAME TO other; CREATE VIEW llmd AS SELECT * FROM other",
    "PRAGMA journal_mode = wal; DELETE FROM llmd",
)
"""What may become of a table."""
CHANGES: Final[tuple[Callable[[Path], object], ...]] = (
    lambda path: os.truncate(path, 0),
    lambda path: os.truncate(path, 100),
    lambda path: os.truncate(path, path.stat().st_size - 4096),
    lambda path: overwrite(path, 0),
    lambda path: overwrite(path, 100),
    lambda path: overwrite(path, 4096),
    lambda path: path.unlink(),
    lambda path: instead(path, lambda: os.mkfifo(path)),
    lambda path: instead(path, lambda: path.symlink_to(path)),
)
"""What may become of a file."""


class DatasetTests(BrokenTestCase):
    """Fault 2: a dataset that breaks while the server runs."""

    folder: ClassVar[Path]

    @classmethod
    def setUpClass(cls) -> None:
        """Start a daemon with a dataset for each thing that may become of one."""
        cls.folder = Path(cls.enterClassContext(TemporaryDirectory()))
        names = [str(number) for number in range(max(len(STATEMENTS), len(CHANGES)))]
        paths = {name: str(cls.make(name)) for name in names}
        adapters = [f"{name}=/adapters/{name}" for name in names]
        datasets = ("--datasets", json.dumps({"m": str(cls.make("m")), **paths}))
        cls.words = ("--model", "m", "--enable-lora", *datasets, "--lora-modules", *adapters)
        super().setUpClass()

    @classmethod
    def make(cls, name: str) -> Path:
        """Make a file, anew if it is there, that has a good row and many bad ones."""
        bad = [(hash_ids(ids_of(f"bad{n}")), each, 3) for n, each in enumerate(BAD_ANSWERS)]
        made, path = cls.folder / "made", cls.folder / name
        fill(made, [row_of("hello", "I ", "am ", "fine."), *bad])
        return made.rename(path)

    def change(self, changes: Sequence[Callable[[Path], object]]) -> None:
        """Change each file while it is used, and put a good one there again: it answers when that is there."""
        for number in range(len(changes)):
            self.answers(str(number))
        for number, change in enumerate(changes):
            name = str(number)
            change(self.folder / name)
            for prompt in ("hello", "bad0", "unknown"):
                self.assertTrue(self.say(prompt, model=name), f"{number}, {prompt}")
        for number in range(len(changes)):
            self.make(str(number))
        for number in range(len(changes)):
            self.answers(str(number))
        self.well()

    def answers(self, name: str) -> None:
        """Wait until a file is used."""
        end = time.monotonic() + PATIENCE
        while self.say("hello", model=name) != "I am fine.":
            self.assertLess(time.monotonic(), end, name)
            time.sleep(0.02)

    def test_rows(self) -> None:
        """2: A row that is no answer costs that answer alone, whatever is in it and wherever it is asked for."""
        for number in range(len(BAD_ANSWERS)):
            prompt = f"bad{number}"
            self.assertTrue(self.say(prompt))
            self.assertTrue(self.say(prompt, ignore_eos=True, max_tokens=9, n=2))
            status, answer = self.ask(COMPLETIONS, {"prompt": prompt, "stream": True})
            self.assertEqual((200, True), (status, answer.endswith(b"data: [DONE]\n\n")))
        self.assertEqual("I am fine.", self.say("hello"))
        self.well()

    def test_table(self) -> None:
        """2: A table that is emptied, dropped, renamed, robbed of a column or made a view costs no request."""

        def run(script: str, path: Path) -> None:
            with closing(sqlite3.connect(path)) as connection:
                connection.executescript(script)

        self.change([partial(run, script) for script in STATEMENTS])

    def test_file(self) -> None:
        """2: A file that is cut off, overwritten, gone, or has something else in its place costs no request."""
        self.change(CHANGES)
