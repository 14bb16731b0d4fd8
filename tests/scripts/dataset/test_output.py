"""The files, and that there are all of them or none."""

import base64
import json
import sqlite3
from contextlib import closing
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.folders import make_folder
from vllmsim.dataset.records import decode_answer
from vllmsim.inference import Tokens
from vllmsim.scripts.dataset.faults import BuildError, UsageError
from vllmsim.scripts.dataset.output import DATABASE, LISTING, Place, Record, Writer

RECORD = Record((1, 2, 3), "q", Tokens((9707, 3738, 0), ("Hello", " human", "!")), chat=True)


class PlaceTests(SynchronousTestCase):
    """Where the files will be."""

    def setUp(self) -> None:
        """Make a folder."""
        self.folder = make_folder(self)

    def fill(self, place: Place) -> None:
        """Write drafts."""
        for ending in place.paths:
            place.draft(ending).write_text(f"new{ending}")

    def files(self) -> list[str]:
        """List all that is there."""
        return sorted(each.name for each in self.folder.rglob("*"))

    def test_settled(self) -> None:
        """The files are where they belong when all are complete, and nothing else is there."""
        with Place(self.folder / "a" / "b", "n", force=False) as place:
            self.fill(place)
            self.assertFalse(any(path.exists() for path in place.paths.values()))
            place.settle()
        self.assertEqual(["a", "b", "n.json", "n.md", "n.sqlite3"], self.files())

    def test_failed(self) -> None:
        """A failure leaves nothing, not even a folder that was made for it."""

        def fail() -> None:
            with Place(self.folder / "a" / "b", "n", force=False) as place:
                self.fill(place)
                raise KeyError

        self.assertRaises(KeyError, fail)
        self.assertEqual([], self.files())

    def test_there(self) -> None:
        """A file that is there is not replaced, whichever it is and whenever it came, unless that is wanted."""
        for ending in (".sqlite3", ".json", ".md"):
            path = self.folder / f"n{ending}"
            path.symlink_to("nowhere")
            error = self.assertRaises(BuildError, Place(self.folder, "n", force=False).check)
            self.assertEqual(f"output file already exists: {path}; --force replaces it", str(error))
            path.unlink()

        def race() -> None:
            with Place(self.folder, "n", force=False) as place:
                self.fill(place)
                (self.folder / "n.md").write_text("old")
                place.settle()

        self.assertRaises(BuildError, race)
        self.assertEqual((["n.md"], "old"), (self.files(), (self.folder / "n.md").read_text()))
        with Place(self.folder, "n", force=True) as place:
            place.check()
            self.fill(place)
            place.settle()
        self.assertEqual(
            (["n.json", "n.md", "n.sqlite3"], "new.md"), (self.files(), (self.folder / "n.md").read_text())
        )

    def test_undone(self) -> None:
        """When the last of the files cannot be moved, the others are as they were before."""
        for name in ("n.sqlite3", "n.json"):
            (self.folder / name).write_text("old")
        original = Path.rename

        def rename(source: Path, target: Path) -> Path:
            if target.name == "n.md":
                raise OSError(28, "No space left on device")
            return original(source, target)

        def settle() -> None:
            with Place(self.folder, "n", force=True) as place:
                self.fill(place)
                place.settle()

        self.patch(Path, "rename", rename)
        error = self.assertRaises(BuildError, settle)
        self.assertEqual(f"{self.folder} cannot be written to: No space left on device", str(error))
        self.assertEqual(["n.json", "n.sqlite3"], self.files())
        self.assertEqual({"old"}, {each.read_text() for each in self.folder.iterdir()})

    def test_names(self) -> None:
        """A name is that of a file in the folder."""
        for name in ("", "..", "a/b", "/a", "a\0"):
            self.assertRaises(UsageError, Place(self.folder, name, force=False).check)
        (self.folder / "n.json").mkdir()
        error = self.assertRaises(BuildError, Place(self.folder, "n", force=True).check)
        self.assertEqual(f"output file is a folder: {self.folder / 'n.json'}", str(error))

    def test_no_folder(self) -> None:
        """Where no folder can be made, that is told in a line."""
        (self.folder / "file").write_text("x")
        error = self.assertRaises(BuildError, Place(self.folder / "file" / "a", "n", force=False).__enter__)
        self.assertEqual(f"{self.folder / 'file' / 'a'} cannot be written to: Not a directory", str(error))
        self.assertEqual(["file"], self.files())


class WriterTests(SynchronousTestCase):
    """The database and its listing."""

    def setUp(self) -> None:
        """Make a folder."""
        folder = make_folder(self)
        self.database, self.listing = folder / f"n{DATABASE}", folder / f"n{LISTING}"

    def write(self, *records: Record, table: str = "llmd", index: bool = True) -> Writer:
        """Write records to the end."""
        for path in (self.database, self.listing):
            path.unlink(missing_ok=True)
        with Writer(self.database, self.listing, table, index) as writer:
            for record in records:
                writer.add(record)
            writer.finish()
        return writer

    def query(self, sql: str) -> list[tuple[object, ...]]:
        """Ask the database."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            return connection.execute(sql).fetchall()

    def test_rows(self) -> None:
        """A row has the hash of the prompt's ids, and the answer's tokens, as llm-d-inference-sim reads them."""
        self.write(RECORD, Record((), "", Tokens((0,), ("é",))))
        prompt_hash = bytes.fromhex("4636993d3e1da4e9d6b8f87b79e8f7c6d018580d52661950eabc3845c5897a4d")
        answer = '{"Tokens":[9707,3738,0],"Strings":["Hello"," human","!"]}'
        first, second = self.query("SELECT id, prompt_hash, gen_tokens, n_gen_tokens FROM llmd ORDER BY id")
        self.assertEqual((1, prompt_hash, answer, 3), first)
        self.assertEqual((2, 1), (second[0], second[3]))
        self.assertEqual(["é"], decode_answer(second[2]).texts)
        columns = [tuple(row)[1:3] for row in self.query("PRAGMA table_info(llmd)")]
        self.assertEqual(
            [("id", "INTEGER"), ("prompt_hash", "BLOB"), ("gen_tokens", "JSON"), ("n_gen_tokens", "INTEGER")], columns
        )

    def test_listing(self) -> None:
        """The listing has the same, with texts for people."""
        writer = self.write(RECORD, RECORD)
        listed = json.loads(self.listing.read_bytes())
        prompt_hash = bytes.fromhex("4636993d3e1da4e9d6b8f87b79e8f7c6d018580d52661950eabc3845c5897a4d")
        expected = {
            "prompt_hash": base64.b64encode(prompt_hash).decode(),
            "n_gen_tokens": 3,
            "gen_tokens": {"Tokens": [9707, 3738, 0], "Strings": ["Hello", " human", "!"]},
            "input_text": "q",
            "generated": "Hello human!",
        }
        self.assertEqual([expected, expected], listed)
        self.assertEqual((2, 6, 3), (writer.count, writer.tokens, writer.longest))
        self.write()
        self.assertEqual([], json.loads(self.listing.read_bytes()))

    def test_index(self) -> None:
        """There is an index of prompts and lengths, unless none is wanted."""
        plan = "EXPLAIN QUERY PLAN SELECT id FROM llmd WHERE prompt_hash = x'00' AND n_gen_tokens < 5"
        self.write(RECORD)
        self.assertIn("USING COVERING INDEX", str(self.query(plan)))
        self.write(RECORD, index=False)
        self.assertIn("SCAN", str(self.query(plan)))

    def test_table(self) -> None:
        """The table may have any name that SQLite knows."""
        for name in ("a", 'x" (y); DROP', "select", "ü"):
            self.write(RECORD, table=name)
            self.assertEqual([(name,)], self.query("SELECT name FROM sqlite_master WHERE type = 'table'"))
        error = self.assertRaises(BuildError, self.write, table="sqlite_x")
        self.assertIn("--table-name 'sqlite_x' will not do: object name reserved", str(error))

    def test_equal(self) -> None:
        """Equal records make equal files, with nothing in them that is of no use."""
        records = [Record((i,), "q" * i, Tokens((i,) * i, ("x",) * i)) for i in range(1, 200)]
        contents = []
        for _ in range(2):
            self.write(*records)
            contents.append((self.database.read_bytes(), self.listing.read_bytes()))
        self.assertEqual(contents[0], contents[1])
        self.assertEqual([(0,), (4096,)], self.query("PRAGMA freelist_count") + self.query("PRAGMA page_size"))

    def test_full(self) -> None:
        """A disk that is full is told in a line."""
        full = Path("/dev/full")
        if not full.exists():
            self.skipTest("needs /dev/full")
        with Writer(self.database, full, "llmd", index=True) as writer:
            error = self.assertRaises(BuildError, lambda: [writer.add(RECORD) for _ in range(1000)])
        self.assertEqual("the output cannot be written: [Errno 28] No space left on device", str(error))
        with Writer(self.listing, full, "llmd", index=True) as writer:
            writer.add(RECORD)
            error = self.assertRaises(BuildError, writer.finish)
        self.assertEqual("the output cannot be written: [Errno 28] No space left on device", str(error))
