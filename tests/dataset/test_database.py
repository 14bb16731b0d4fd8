"""An SQLite file that is read and never written."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from tests.dataset.making import DatasetTestCase, fill, row_of
from vllmsim.dataset.database import DatasetError, DatasetLockedError, Identity, Stamp, connect, look, told_of, verify
from vllmsim.dataset.records import create_index, create_table

CRASH = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN")
connection.execute("UPDATE llmd SET gen_tokens = hex(randomblob(100000))")
os.kill(os.getpid(), 9)
"""


class DatabaseTestCase(DatasetTestCase):
    """Tests that look at a database."""

    def check(self, table: str = "llmd") -> bool:
        """Open and verify the database.

        :raises DatasetError: as a start would.
        """
        path = str(self.path)
        with told_of(path), closing(connect(path, Stamp.of(path), 0)) as connection:
            return verify(connection, path, table)

    def fault(self, table: str = "llmd") -> str:
        """Tell why the database cannot be used."""
        return str(self.assertRaises(DatasetError, self.check, table))


class VerifyTests(DatabaseTestCase):
    """Whether a table is a dataset."""

    def make(self, statement: str) -> None:
        """Make another database."""
        self.path.unlink(missing_ok=True)
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute(statement)
            connection.commit()

    def test_fine(self) -> None:
        """The table of the tools is one; more columns, an index and the case of names change nothing."""
        self.database([row_of("hi", "a")])
        self.assertFalse(self.check())
        self.database([], create_index("llmd"), "ALTER TABLE llmd ADD COLUMN more TEXT")
        self.assertTrue(self.check())
        self.make("CREATE TABLE LLMD (ID integer primary key, Prompt_Hash blob, gen_tokens json, n_gen_tokens Integer)")
        self.assertFalse(self.check())

    def test_index(self) -> None:
        """An index helps if it has both what is looked for and the length, of all rows."""
        only_hash = "CREATE INDEX idx_prompt_hash ON llmd (prompt_hash)"
        some = "CREATE INDEX some ON llmd (prompt_hash, n_gen_tokens) WHERE n_gen_tokens > 3"
        expression = "CREATE INDEX low ON llmd (prompt_hash, lower(gen_tokens))"
        self.database([], only_hash, some, expression)
        self.assertFalse(self.check())
        self.database([], "CREATE INDEX mine ON llmd (n_gen_tokens, prompt_hash)")
        self.assertTrue(self.check())

    def test_missing_table(self) -> None:
        """A table that is not there is named, with those that are."""
        self.database()
        expected = f"failed to verify database: there is no table 'x\"y' in {self.path}, whose tables are: llmd"
        self.assertEqual(expected, self.fault('x"y'))
        self.path.unlink()
        sqlite3.connect(self.path).execute("PRAGMA user_version = 1").connection.close()
        self.assertIn("whose tables are: none", self.fault())

    def test_columns(self) -> None:
        """Every column that is missing or of another type is named, in the words of the original."""
        self.make("CREATE TABLE llmd (id INTEGER PRIMARY KEY, gen_tokens TEXT, n_gen_tokens)")
        expected = (
            "failed to verify database: missing expected column in llmd table: prompt_hash; "
            "column gen_tokens of llmd has incorrect type: expected JSON, got TEXT; "
            f"column n_gen_tokens of llmd has incorrect type: expected INTEGER, got none, in {self.path}"
        )
        self.assertEqual(expected, self.fault())

    def test_no_numbers(self) -> None:
        """Rows must have numbers: a view and a table without rowid will not do."""
        self.make(create_table("llmd") + " WITHOUT ROWID")
        self.assertIn("llmd is a view or a table without rowid", self.fault())
        self.make(create_table("real"))
        fill(self.path, [], "CREATE VIEW seen AS SELECT * FROM real", table="real")
        self.assertIn("seen is a view or a table without rowid", self.fault("seen"))

    def test_odd_names(self) -> None:
        """Whatever a file calls its tables, and says of them, the message is a line that is not too long."""
        for name in ("a\nb\x1b", "x" * 9999):
            self.path.unlink(missing_ok=True)
            fill(self.path, [], table=name)
            fault = self.fault()
            self.assertTrue(fault.isprintable())
            self.assertLess(len(fault), 5000)
        for value in (b"llmd", b"\xff", None, 7):
            self.path.unlink()
            self.database([])
            with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
                connection.execute("PRAGMA writable_schema = ON")
                connection.execute("UPDATE sqlite_master SET name = ?", [value])
            self.assertTrue(self.fault().isprintable())


class FileTests(DatabaseTestCase):
    """Whether a file is a database that can be read."""

    def test_beside(self) -> None:
        """A pipe in the place of a journal, at whose end nobody writes, keeps nobody waiting."""
        self.database([])
        os.mkfifo(f"{self.path}-journal")
        self.assertEqual(f"database file has something beside it that is not a file: {self.path}-journal", self.fault())

    def test_missing(self) -> None:
        """A file that is missing, or is none, is told as such."""
        self.assertEqual(f"database file does not exist: {self.path}", self.fault())
        self.path.mkdir()
        self.assertEqual(f"database file is not a file: {self.path}", self.fault())
        self.path.rmdir()
        os.mkfifo(self.path)
        self.assertEqual(f"database file is not a file: {self.path}", self.fault())
        self.path = self.folder / "a" / "b"
        self.assertIn("does not exist", self.fault())
        self.path = self.folder / ("x" * 300)
        self.assertIn("cannot be read", self.fault())

    def test_no_database(self) -> None:
        """A file with something else, or nothing, is no database."""
        for content in (b"", b"SQLite format 3\0", b"<html>" * 100):
            self.path.write_bytes(content)
            self.assertEqual(f"failed to verify database: {self.path} is no SQLite database", self.fault())

    def test_cut_off(self) -> None:
        """A file that has been cut off is told as such."""
        self.database([row_of("hi", "a" * 50_000)])
        os.truncate(self.path, self.path.stat().st_size - 4096)
        self.assertIn(f"failed to read database: {self.path}: it is damaged or has been cut off", self.fault())

    def test_look(self) -> None:
        """A whole database is told from what is none, or cut off, and nothing is left beside it."""
        for journal in ("delete", "wal"):
            self.path.unlink(missing_ok=True)
            self.database([row_of("hi", "a" * 99)] * 999, journal=journal)
            self.assertIsNone(look(self.path))
            self.assertEqual([self.path.name], [each.name for each in self.folder.iterdir()])
            os.truncate(self.path, self.path.stat().st_size // 2)
            self.assertIn("is no whole SQLite database (", look(self.path) or "")
            self.path.write_bytes(b"<html>" * 99)
            self.assertEqual("is no SQLite database", look(self.path))

    def test_garbage(self) -> None:
        """A file whose pages are no pages is told as such."""
        self.database([row_of("hi", "a")])
        content = self.path.read_bytes()
        self.path.write_bytes(content[:100] + b"\xff" * (len(content) - 100))
        self.assertIn("it is damaged or has been cut off", self.fault())

    def test_unfinished(self) -> None:
        """Where a writing program crashed, it is said how to put it right; nothing is written."""
        self.database([row_of("hi", "a" * 100_000) for _ in range(3)])
        subprocess.run([sys.executable, "-c", CRASH, str(self.path)], check=False)
        self.assertTrue(Path(f"{self.path}-journal").exists())
        before = self.path.read_bytes()
        self.assertIn("opening it with sqlite3 puts it right", self.fault())
        self.assertEqual(before, self.path.read_bytes())
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("SELECT count(*) FROM llmd").fetchall()
        self.assertFalse(self.check())

    def test_odd_name(self) -> None:
        """Names may have any characters."""
        self.path = self.folder / "a b?c#d%20é.sqlite3"
        self.database([row_of("hi", "a")])
        self.assertFalse(self.check())

    def test_read_only(self) -> None:
        """What is opened cannot be written."""
        path = self.database()
        with closing(connect(path, Stamp.of(path), 0)) as connection:
            self.assertRaises(sqlite3.OperationalError, connection.execute, "DELETE FROM llmd")


class LockTests(DatabaseTestCase):
    """Files that others lock."""

    def test_locked(self) -> None:
        """A locked file is told from a bad one, and can be read when it is free."""
        self.database([row_of("hi", "a")])
        other = self.lock()
        error = self.assertRaises(DatasetLockedError, self.check)
        self.assertEqual(f"database is locked or has other active connections: {self.path}", str(error))
        other.execute("ROLLBACK")
        self.assertFalse(self.check())

    def test_readers(self) -> None:
        """Those who only read, or have not begun to write, lock nobody out."""
        self.database([row_of("hi", "a")])
        for statement in ("BEGIN", "BEGIN IMMEDIATE"):
            with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
                other.execute(statement)
                other.execute("SELECT * FROM llmd").fetchall()
                self.assertFalse(self.check())

    def test_log(self) -> None:
        """A database with a log is read while others write to it, unless they keep it to themselves."""
        self.database([row_of("hi", "a")], journal="wal")
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            other.execute("DELETE FROM llmd")
            self.assertFalse(self.check())
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("PRAGMA locking_mode = EXCLUSIVE")
            other.execute("DELETE FROM llmd")
            self.assertRaises(DatasetLockedError, self.check)

    def test_no_room_for_a_log(self) -> None:
        """A database with a log that is empty is read where none can be made."""
        self.database([row_of("hi", "a")], journal="wal")
        self.patch(os, "access", lambda *_: False)
        with closing(connect(str(self.path), Stamp.of(str(self.path)), 0)) as connection:
            self.assertEqual([(1,)], connection.execute("SELECT count(*) FROM llmd").fetchall())
            self.assertEqual({self.path.name}, self.files())


class StampTests(DatasetTestCase):
    """Whether a file is still the same."""

    def test_change(self) -> None:
        """Whatever is written changes the stamp, and a copy has the same content."""
        path = self.database([row_of("hi", "a")])
        first = Stamp.of(path)
        self.assertEqual(first, Stamp.of(path))
        self.database([row_of("hi", "b")])
        second = Stamp.of(path)
        self.assertNotEqual(first.counters, second.counters)
        os.utime(path, ns=(0, 0))
        third = Stamp.of(path)
        self.assertNotEqual((second.identity, second.content), (third.identity, third.content))
        copy = self.folder / "copy"
        copy.write_bytes(self.path.read_bytes())
        os.utime(copy, ns=(0, 0))
        self.assertNotEqual(third.identity, Identity.of(str(copy)))
        self.assertEqual(third.content, Stamp.of(str(copy)).content)

    def test_log(self) -> None:
        """What is in the log beside the file counts too."""
        path = self.database([row_of("hi", "a")], journal="wal")
        first = Stamp.of(path)
        self.assertTrue(first.logs)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("DELETE FROM llmd")
            self.assertEqual(first.counters, Stamp.of(path).counters)
            self.assertNotEqual(first.identity, Identity.of(path))
