"""From a plan to three files."""

import io
import json
import shutil
import sqlite3
from contextlib import closing
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import in_thread
from tests.folders import make_folder
from vllmsim.assembly.tokenizing import BUILTIN
from vllmsim.scripts.dataset.faults import BuildError
from vllmsim.scripts.dataset.options import plan
from vllmsim.scripts.dataset.progress import Progress
from vllmsim.scripts.dataset.work import Work

INPUT = [
    {"id": str(n), "conversations": [{"from": "human", "value": f"q{n}?"}, {"from": "gpt", "value": f"a{n} " * n}]}
    for n in range(1, 30)
]


class WorkTests(SynchronousTestCase):
    """The whole of it, but for what others serve."""

    def setUp(self) -> None:
        """Write an input."""
        self.folder = make_folder(self)
        self.input = self.folder / "in.json"
        self.input.write_text(json.dumps(INPUT))
        self.output = self.folder / "out"
        self.clock = Clock()

    def begin(self, *words: str, defer_to_thread: Any = in_thread) -> Deferred[list[str]]:
        """Begin to work."""
        what = plan([str(self.input), "--output-path", str(self.output), *words], {})
        progress = Progress(io.StringIO(), self.clock.seconds)
        done = Deferred.fromCoroutine(Work(what, {}, self.clock, defer_to_thread, progress).run())
        self.clock.advance(0)
        return done

    def files(self) -> dict[str, bytes]:
        """Read all that was made."""
        return {each.name: each.read_bytes() for each in self.output.iterdir()} if self.output.exists() else {}

    def test_made(self) -> None:
        """There are three files, and lines about them."""
        lines = self.successResultOf(self.begin("--output-file", "n", "--table-name", "t t"))
        self.assertEqual(["n.json", "n.md", "n.sqlite3"], sorted(self.files()))
        self.assertEqual("58 records: 29 of conversations, 29 of completions", lines[0])
        self.assertTrue(lines[1].endswith("token ids: WordTokenizer"))
        self.assertIn("| prompts | in.json |", self.files()["n.md"].decode())
        with closing(sqlite3.connect(self.output / "n.sqlite3")) as connection:
            rows = connection.execute('SELECT id, n_gen_tokens FROM "t t" ORDER BY id').fetchall()
            self.assertEqual([("ok",)], connection.execute("PRAGMA integrity_check").fetchall())
        self.assertEqual([(n, (n + 1) // 2) for n in range(1, 59)], rows)

    def test_equal(self) -> None:
        """The same input and options make the same files, to the byte; another input makes others."""
        self.successResultOf(self.begin())
        first = self.files()
        self.successResultOf(self.begin("--force"))
        self.assertEqual(first, self.files())
        self.input.write_text(json.dumps(INPUT[1:]))
        self.successResultOf(self.begin("--force"))
        self.assertEqual(3, sum(first[name] != data for name, data in self.files().items()))

    def test_tokenizer(self) -> None:
        """The page names the tokenizer: as it was asked for, without the folders of this machine, and its class."""
        folder = self.folder / "mine"
        shutil.copytree(BUILTIN, folder)
        for words, name in (
            (("--tokenizer", "words"), "words (WordTokenizer)"),
            (("--tokenizer", "builtin", "--force-dummy-tokenizer"), "WordTokenizer"),
            (("--tokenizer", str(folder)), "mine (PreTrainedTokenizerFast)"),
        ):
            self.successResultOf(self.begin("--force", *words))
            self.assertIn(f"| token ids | {name} |", self.files()["inference-sim-dataset.md"].decode())

    def test_there(self) -> None:
        """Files that are there are looked for before anything is done."""
        self.output.mkdir()
        (self.output / "inference-sim-dataset.md").write_text("x")
        error = self.failureResultOf(self.begin(), BuildError).value
        self.assertIn("output file already exists", str(error))
        self.assertEqual({"inference-sim-dataset.md": b"x"}, self.files())

    def test_nothing(self) -> None:
        """An input that makes no records makes no files, and it is told why."""
        for data, why in (
            ("[]", ", which is empty"),
            ('{"prompt": "a"}', ": a conversation without an answer, 1 time"),
        ):
            self.input.write_text(data)
            error = self.failureResultOf(self.begin(), BuildError).value
            self.assertEqual(f"no record can be made of in.json{why}", str(error))
            self.assertFalse(self.output.exists())

    def test_unreadable(self) -> None:
        """An input that is not there, or broken in the middle, leaves nothing."""
        self.input.write_text(json.dumps(INPUT)[:-20])
        self.failureResultOf(self.begin(), BuildError)
        self.input.unlink()
        error = self.failureResultOf(self.begin(), BuildError).value
        self.assertEqual(f"{self.input} cannot be read: No such file or directory", str(error))
        self.assertFalse(self.output.exists())

    def test_cancelled(self) -> None:
        """Who interrupts the last step waits for its end, and nothing is left."""
        threads: list[tuple[Deferred[None], Any]] = []

        def defer_to_thread(function: Any) -> Deferred[None]:
            threads.append((Deferred(), function))
            return threads[-1][0]

        done = self.begin(defer_to_thread=defer_to_thread)
        done.cancel()
        self.assertNoResult(done)
        self.assertTrue(self.output.exists())
        thread, finish = threads[0]
        finish()
        thread.callback(None)
        self.failureResultOf(done, CancelledError)
        self.assertFalse(self.output.exists())
