"""The answers of a table."""

import os
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from threading import Barrier, Thread
from typing import Any

from tests.dataset.making import DatasetTestCase, Row, hash_of, lengths_to_rows
from vllmsim.dataset import corpus as corpus_module
from vllmsim.dataset.corpus import Corpus, open_corpus
from vllmsim.dataset.database import DatasetError, DatasetLockedError, Stamp, verify
from vllmsim.dataset.places import find_places
from vllmsim.dataset.records import BadRecordError, Saved, create_index
from vllmsim.dataset.sidefile import SUFFIX, side_path

ROWS = lengths_to_rows([(1, 2), (1, 4), (2, 6), (3, 8)])


class CorpusTestCase(DatasetTestCase):
    """Tests that have an open dataset."""

    def setUp(self) -> None:
        """Keep side files of small databases too, and wait for no lock."""
        super().setUp()
        self.patch(corpus_module, "_SMALL", 0)
        self.patch(corpus_module, "PATIENCE", 0)

    def open(self, *, in_memory: bool = False, **facts: Any) -> Corpus:
        """Open the database."""
        path = str(self.path)
        corpus = open_corpus(path, "llmd", Stamp.of(path), in_memory=in_memory, **facts)
        self.addCleanup(corpus.close)
        return corpus

    def say(self, corpus: Corpus, prompt: int, least: int = 0, most: int = 9, seed: int = 1) -> tuple[bool, list[str]]:
        """Draw an answer: whether it is the prompt's, and what it says."""
        found = corpus.find([hash_of(prompt)], least, most, random.Random(seed))
        assert found.saved is not None
        return found.hit, found.saved.texts or []


class FindTests(CorpusTestCase):
    """What is found."""

    def test_same_everywhere(self) -> None:
        """The same is drawn from a file, with an index, with a side file, and in memory."""
        self.database(ROWS)
        corpora = [self.open(), self.open(), self.open(in_memory=True)]
        answers = [[self.say(corpus, seed % 5, 0, seed % 9, seed) for seed in range(200)] for corpus in corpora]
        self.database([], create_index("llmd"))
        indexed = self.open()
        answers.append([self.say(indexed, seed % 5, 0, seed % 9, seed) for seed in range(200)])
        for other in answers[1:]:
            self.assertEqual(answers[0], other)
        self.assertEqual({True, False}, {hit for hit, _ in answers[0]})

    def test_row_of_the_original(self) -> None:
        """A row as llm-d-inference-sim has it is found and read."""
        rows: list[Row] = [(hash_of(7), b'{"Tokens":[9707,3738,0],"Strings":["Hello"," human","!"]}', 3)]
        self.database(rows)
        found = self.open().find([hash_of(7)], 0, 9, random.Random(1))
        self.assertEqual(
            (Saved([9707, 3738, 0], ["Hello", " human", "!"]), True, True), (found.saved, found.hit, found.current)
        )

    def test_deceived(self) -> None:
        """A row whose hash begins as the prompt's does is not the prompt's."""
        own = hash_of(1)
        self.database([(own[:8] + bytes(24), '["x"]', 1), *lengths_to_rows([(2, 3)])])
        corpus = self.open()
        self.assertEqual({(False, 1), (False, 3)}, {
            (hit, len(said)) for hit, said in (self.say(corpus, 1, seed=seed) for seed in range(50))
        })  # fmt: skip

    def test_empty(self) -> None:
        """In an empty table nothing is found."""
        self.database()
        found = self.open().find([hash_of(1)], 0, 9, random.Random(1))
        self.assertEqual((None, False), (found.saved, found.hit))

    def test_huge_row(self) -> None:
        """A row that would take long to read is not read, and does not keep others from being found."""
        self.patch(corpus_module, "LONGEST_ANSWER", 5000)
        huge = lengths_to_rows([(9, 1000)])
        self.database([*huge, *ROWS])
        for in_memory in (False, True):
            corpus = self.open(in_memory=in_memory)
            self.assertEqual((True, [f"2.{place} " for place in range(6)]), self.say(corpus, 2))
            error = self.assertRaises(BadRecordError, self.say, corpus, 9)
            self.assertIn("too big", str(error))

    def test_bad_row(self) -> None:
        """A row that cannot be read is named, and others can be."""
        self.database([*lengths_to_rows([(1, 3)]), (hash_of(2), "oops", 3)])
        corpus = self.open()
        error = self.assertRaises(BadRecordError, self.say, corpus, 2)
        self.assertTrue(str(error).startswith("gen_tokens of row 2: it is not JSON: "), str(error))
        self.assertEqual((True, ["1.0 ", "1.1 ", "1.2 "]), self.say(corpus, 1))


class SideFileTests(CorpusTestCase):
    """How the next start is made quick."""

    def count_scans(self) -> list[object]:
        """Remember how often a table is gone through."""
        scans: list[object] = []
        scan: Callable[..., Any] = find_places

        def counted(*arguments: Any) -> Any:
            scans.append(arguments)
            return scan(*arguments)

        self.patch(corpus_module, "find_places", counted)
        return scans

    def test_kept(self) -> None:
        """A table without an index is gone through once, until it changes; the database is not written to."""
        scans = self.count_scans()
        path = self.database(ROWS)
        before = self.path.read_bytes()
        for _ in range(3):
            self.assertIsNone(self.open().unkept)
        self.assertEqual((1, before), (len(scans), self.path.read_bytes()))
        self.assertTrue(side_path(path, "llmd").exists())
        self.database(lengths_to_rows([(9, 9)]))
        self.assertEqual((5, 2), (len(self.open().places), len(scans)))
        self.assertEqual((5, 2), (len(self.open().places), len(scans)))

    def test_not_needed(self) -> None:
        """For a small database, or in memory, there is no side file."""
        self.database(ROWS)
        self.open(in_memory=True)
        self.patch(corpus_module, "_SMALL", 1 << 20)
        self.open()
        self.assertEqual({self.path.name}, self.files())

    def test_former(self) -> None:
        """Who opens a file again that has not changed has everything already."""
        scans = self.count_scans()
        self.database(ROWS, create_index("llmd"))
        first = self.open()
        self.assertIs(first.places, self.open(former=first).places)
        self.database(lengths_to_rows([(9, 9)]))
        self.assertEqual((5, 2), (len(self.open(former=first).places), len(scans)))

    def test_cannot_be_kept(self) -> None:
        """Where the side file cannot be, the table is gone through each time, and it is said what would help."""
        self.path = self.folder / ("x" * (255 - len(SUFFIX) + 1))
        self.database(ROWS)
        corpus = self.open()
        self.assertEqual("File name too long", corpus.unkept)
        self.assertEqual(4, len(corpus.places))
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute(corpus.advice)
            connection.commit()
        self.assertIsNone(self.open().unkept)

    def test_changed_meanwhile(self) -> None:
        """What was found while the file changed is not kept."""
        path = self.database(ROWS)
        self.open(tell=lambda _: None)
        side_path(path, "llmd").unlink()
        find: Callable[..., Any] = find_places

        def find_and_change(*arguments: Any) -> Any:
            places = find(*arguments)
            self.database(lengths_to_rows([(9, 9)]))
            return places

        self.patch(corpus_module, "find_places", find_and_change)
        corpus = self.open()
        self.assertFalse(side_path(path, "llmd").exists())
        self.assertFalse(corpus.find([], 0, 9, random.Random(1)).current)

    def test_several_at_once(self) -> None:
        """Any number may open a database for the first time at the same moment."""
        path = self.database(lengths_to_rows([(number % 50, 3) for number in range(2000)]))
        barrier, counts = Barrier(6), []

        def open_and_count() -> None:
            barrier.wait()
            with closing(open_corpus(path, "llmd", Stamp.of(path), in_memory=False)) as corpus:
                counts.append(len(corpus.places))

        threads = [Thread(target=open_and_count) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([2000] * 6, counts)
        self.assertEqual({self.path.name, side_path(path, "llmd").name}, self.files())


class TroubleTests(CorpusTestCase):
    """What becomes of an open dataset."""

    def test_locked(self) -> None:
        """A lock is told as such, at the start and later, until the file is opened anew; memory has none."""
        self.database(ROWS)
        corpus, memory = self.open(), self.open(in_memory=True)
        other = self.lock()
        self.assertRaises(DatasetLockedError, self.open)
        self.assertRaises(DatasetLockedError, self.open, in_memory=True)
        self.assertRaises(DatasetLockedError, self.say, corpus, 1)
        self.assertTrue(self.say(memory, 1)[0])
        other.execute("ROLLBACK")
        self.assertRaises(DatasetLockedError, self.say, corpus, 1)
        self.assertTrue(self.say(self.open(former=corpus), 1)[0])

    def test_locked_while_copying(self) -> None:
        """A file that is locked just when it is to be read into memory is told as such, and not waited for."""
        self.database(ROWS)

        def verify_and_lock(*arguments: Any) -> bool:
            indexed = verify(*arguments)
            self.lock()
            return indexed

        self.patch(corpus_module, "verify", verify_and_lock)
        self.assertRaises(DatasetLockedError, self.open, in_memory=True)

    def test_locked_log(self) -> None:
        """A database with a log can be read into memory too."""
        self.database(ROWS, journal="wal")
        self.assertEqual((True, True), (self.say(self.open(in_memory=True), 1)[0], self.say(self.open(), 1)[0]))

    def test_gone(self) -> None:
        """A file that is deleted is used no more, whatever is still to be had of it; memory is."""
        self.database(ROWS)
        corpus, memory = self.open(), self.open(in_memory=True)
        self.path.unlink()
        self.assertIn("does not exist", str(self.assertRaises(DatasetError, self.say, corpus, 1)))
        self.assertTrue(self.say(memory, 1)[0])

    def test_replaced(self) -> None:
        """A file that another has taken the place of answers, and it is said that it is not the same any more."""
        self.database(ROWS)
        corpus = self.open()
        self.path.rename(self.folder / "old")
        self.database(lengths_to_rows([(9, 9)]))
        found = corpus.find([hash_of(1)], 0, 9, random.Random(1))
        self.assertEqual((True, False), (found.hit, found.current))

    def test_cut_off(self) -> None:
        """A file that is cut off while it is open is told as such."""
        self.database([(hash_of(1), '["' + "x" * 100_000 + '"]', 1)])
        corpus = self.open()
        os.truncate(self.path, 8192)
        self.assertIn("cut off", str(self.assertRaises(DatasetError, self.say, corpus, 1)))
        os.truncate(self.path, 0)
        self.assertRaises(DatasetError, self.say, corpus, 1)

    def test_bad_page(self) -> None:
        """A page that cannot be read is the trouble of its row alone."""
        self.database([(hash_of(1), '["' + "x" * 100_000 + '"]', 1), *lengths_to_rows([(2, 3)])])
        self.open()
        content = bytearray(self.path.read_bytes())
        # The first page of what a row has beyond its own begins with the number of the next.
        start = next(at for at in range(0, len(content), 4096) if content[at + 4 : at + 4096] == b"x" * 4092)
        content[start : start + 4] = b"\xff" * 4
        times = self.path.stat()
        self.path.write_bytes(content)
        os.utime(self.path, ns=(times.st_atime_ns, times.st_mtime_ns))
        corpus = self.open()
        self.assertIn("damaged", str(self.assertRaises(BadRecordError, self.say, corpus, 1)))
        self.assertTrue(self.say(corpus, 2)[0])

    def test_row_spoilt(self) -> None:
        """A row that became bad tells that the file has changed, so that it is read anew."""
        self.database(ROWS)
        corpus = self.open()
        self.database([], "UPDATE llmd SET gen_tokens = 'oops', n_gen_tokens = 0")
        os.utime(self.path, (1, 1))
        found = corpus.find([hash_of(2)], 0, 9, random.Random(1))
        self.assertEqual((None, False), (found.saved, found.current))

    def test_row_gone(self) -> None:
        """A row that was deleted since is not found; when the table is, that is told."""
        self.database(lengths_to_rows([(1, 3)]))
        corpus, memory = self.open(), self.open(in_memory=True)
        self.database([], "DELETE FROM llmd")
        found = corpus.find([hash_of(1)], 0, 9, random.Random(1))
        self.assertEqual((None, False), (found.saved, found.current))
        memory._connection.execute("DELETE FROM llmd")
        self.assertEqual("row 1 is gone", str(self.assertRaises(BadRecordError, self.say, memory, 1)))
        self.database([], "DROP TABLE llmd")
        self.assertIn("no such table", str(self.assertRaises(DatasetError, self.say, corpus, 1)))

    def test_large_hash(self) -> None:
        """A hash that is none is not read, however long it is."""
        self.database([(bytes(32 << 20), '["a"]', 1), *ROWS])
        connection = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(connection.close)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1 << 20)
        self.assertEqual(5, len(find_places(connection, "llmd")))
