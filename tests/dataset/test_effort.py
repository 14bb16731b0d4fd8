"""How much SQLite may do for a statement."""

import sqlite3
from contextlib import closing

from tests.dataset.making import DatasetTestCase, fill, hash_of, lengths_to_rows
from vllmsim.dataset.corpus import open_corpus
from vllmsim.dataset.database import DatasetError, Stamp
from vllmsim.dataset.effort import Effort
from vllmsim.dataset.places import Choice

ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"
_ROWS = f"SELECT *, id _rowid_ FROM real UNION ALL SELECT x, x, x, x, x FROM ({ENDLESS} WHERE x < 0)"  # noqa: S608
VIEW = f"CREATE VIEW llmd AS {_ROWS}"
"""Never comes to an end."""


class EffortTests(DatasetTestCase):
    """Work that has no end."""

    def test_endless(self) -> None:
        """What has no end is stopped; what has one is not, however often it is done."""
        effort = Effort()
        with closing(sqlite3.connect(":memory:")) as connection:
            effort.watch(connection)
            effort.find()
            self.assertRaises(sqlite3.OperationalError, connection.execute, f"{ENDLESS} WHERE x < 0")
            for _ in range(300_000):
                effort.find()
                self.assertEqual((7,), connection.execute("SELECT 7").fetchone())
            effort.go_through(10**7)
            self.assertEqual([(10**6,)], connection.execute(f"{ENDLESS} LIMIT 1 OFFSET 999999").fetchall())

    def test_view(self) -> None:
        """A view without end that has all that a table needs is refused."""
        fill(self.path, [], VIEW, table="real")
        path = str(self.path)
        error = self.assertRaises(DatasetError, open_corpus, path, "llmd", Stamp.of(path), in_memory=False)
        self.assertIn("it takes more work than a file of its size should", str(error))

    def test_later(self) -> None:
        """A table that becomes a view without end while it is served is let go of."""
        path = self.database(lengths_to_rows([(1, 3)]))
        corpus = open_corpus(path, "llmd", Stamp.of(path), in_memory=False)
        self.addCleanup(corpus.close)
        fill(self.path, [], "DROP TABLE llmd", VIEW, table="real")
        with self.assertRaises(sqlite3.OperationalError) as caught:
            corpus._read(Choice(1, hash_of(1)))
        self.assertEqual(sqlite3.SQLITE_INTERRUPT, caught.exception.sqlite_errorcode)
