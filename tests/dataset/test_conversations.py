"""A dataset as its file comes and goes."""

import os
import random
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent

from tests.dataset.making import DatasetTestCase, hash_of, prompt_of, row_of
from tests.fakes import in_thread
from vllmsim.dataset import corpus as corpus_module
from vllmsim.dataset.conversations import Conversations, Finding
from vllmsim.dataset.database import DatasetError, told_of
from vllmsim.dataset.lookups import Lookups
from vllmsim.dataset.places import find_places
from vllmsim.dataset.records import BadRecordError, create_index
from vllmsim.inference import Extent, TokenizedPrompt, TokenPrompt


class ConversationsTestCase(DatasetTestCase):
    """Tests that have a dataset in use."""

    def setUp(self) -> None:
        """Have a clock, remember what is logged, and wait for no lock."""
        super().setUp()
        self.patch(corpus_module, "PATIENCE", 0)
        self.clock = Clock()
        self.seen = 0
        self.logged = self.enterContext(capturedLogs())
        self.threads: Callable[..., Deferred[Any]] = in_thread

    def warnings(self) -> list[str]:
        """Tell what was warned of since the last time."""
        found = [formatEvent(event) for event in self.logged[self.seen :] if event["log_level"] is LogLevel.warn]
        self.seen = len(self.logged)
        return found

    def start(self, *, in_memory: bool = False) -> Conversations:
        """Open the dataset."""

        def threads(*work: Any) -> Deferred[Any]:
            return self.threads(*work)

        self.used = Conversations("d", str(self.path), "llmd", in_memory, self.clock, Lookups(in_thread), threads)
        self.used.open()
        self.addCleanup(self.used.close)
        return self.used

    def find(self, text: str = "hi", seed: int = 1) -> Finding:
        """Look something up."""
        extent = Extent(0, 9, explicit=True)
        found: Deferred[Finding] = Deferred.fromCoroutine(self.used.find(prompt_of(text), extent, random.Random(seed)))
        return self.successResultOf(found)

    def said(self, text: str = "hi") -> str:
        """Look something up: what it says, or why it does not."""
        finding = self.find(text)
        if finding.saved is None:
            return f"{finding.result}: {finding.trouble}"
        return f"{finding.result}: {''.join(finding.saved.texts or ())}"

    def write(self, *words: str, prompt: str = "hi") -> None:
        """Make the only answer of the database another one."""
        self.database([row_of(prompt, *words)], "DELETE FROM llmd WHERE id < (SELECT max(id) FROM llmd)")


class UseTests(ConversationsTestCase):
    """A dataset with which nothing is wrong."""

    def test_found(self) -> None:
        """An answer is the prompt's, or another's, or there is none."""
        self.write("Hello ", "you")
        self.start()
        self.assertEqual(["hit: Hello you", "miss: Hello you"], [self.said(), self.said("other")])
        self.database([], "DELETE FROM llmd")
        self.start()
        self.assertEqual("fallback: empty", self.said())
        self.assertEqual([f"Dataset {self.path} is empty: answers are random."], self.warnings())

    def test_older_hashes(self) -> None:
        """A prompt is found by its text too, as older files have it."""
        import hashlib  # noqa: PLC0415

        rows = [(hashlib.sha256(b"by text").digest(), '["old ","one"]', 2), row_of("by ids", "new ", "one")]
        self.database(rows)
        self.start()
        self.assertEqual(["hit: old one", "hit: new one"], [self.said("by text"), self.said("by ids")])

    def test_large_ids(self) -> None:
        """A prompt with ids that no dataset can have is another one."""
        self.write("Hello")
        self.start()
        prompt = TokenizedPrompt(TokenPrompt((2**40,)), "", (2**40,), ("",))
        found = Deferred.fromCoroutine(self.used.find(prompt, Extent(0, 9, explicit=True), random.Random(1)))
        self.assertEqual("miss", self.successResultOf(found).result)

    def test_wrong_at_start(self) -> None:
        """What is no dataset is told at the start."""
        self.assertIn("does not exist", str(self.assertRaises(DatasetError, self.start)))
        self.database(table="other")
        self.assertIn("there is no table 'llmd'", str(self.assertRaises(DatasetError, self.start)))

    def test_close(self) -> None:
        """Once it is closed nothing is to be had, and nothing is opened."""
        self.write("a")
        self.start()
        self.successResultOf(self.used.close())
        self.clock.advance(5)
        self.assertEqual(["fallback: broken"] * 2, [self.said(), self.said()])

    def test_bad_row(self) -> None:
        """A row that cannot be read costs its own answers, and one warning."""
        self.database([(row_of("bad")[0], "oops", 3), row_of("hi", "a")])
        self.start()
        self.assertEqual(["fallback: broken", "hit: a", "fallback: broken"], [*map(self.said, ("bad", "hi", "bad"))])
        [warning] = self.warnings()
        self.assertIn(f"Dataset {self.path} has a bad row: gen_tokens of row 1: it is not JSON", warning)

    def test_no_side_file(self) -> None:
        """Where nothing can be kept beside the file, the log says what would make a start quick, and answers come."""
        self.patch(corpus_module, "_SMALL", 0)
        self.path = self.folder / ("x" * 245)
        self.write("a")
        self.start()
        [warning] = self.warnings()
        self.assertIn(f"No index can be kept beside dataset {self.path} (File name too long)", warning)
        self.assertTrue(warning.endswith(create_index("llmd")), warning)
        self.assertEqual("hit: a", self.said())

    def test_progress(self) -> None:
        """How far a long reading is, is said every two seconds."""
        self.patch(corpus_module, "_SMALL", 0)
        self.write("a")
        find: Callable[..., Any] = find_places

        def slow(connection: sqlite3.Connection, table: str, tell: Callable[[float], object]) -> Any:
            for share in (0.1, 0.2, 0.5, 0.6, 0.999):
                self.clock.advance(1)
                tell(share)
            return find(connection, table, tell)

        self.patch(corpus_module, "find_places", slow)
        self.start()
        said = [formatEvent(event) for event in self.logged]
        self.assertEqual([f"Reading dataset {self.path}: {n} %." for n in (20, 60)], [s for s in said if "%" in s])


class TroubleTests(ConversationsTestCase):
    """A dataset that cannot be used for a while."""

    LOCKED = "Answers are random, as a dataset cannot be used: database is locked or has other active connections: "

    def test_locked_at_start(self) -> None:
        """A file that is locked at the start is used once it is free; it is tried each second, and warned of once."""
        self.write("Hello")
        other = self.lock()
        self.start()
        for _ in range(3):
            self.assertEqual("fallback: locked", self.said())
            self.clock.advance(1)
        self.assertEqual([f"{self.LOCKED}{self.path}. It is tried again."], self.warnings())
        other.execute("ROLLBACK")
        self.assertEqual(["fallback: locked", "hit: Hello"], [self.said(), self.said()])
        self.assertEqual([], self.warnings())

    def test_locked_later(self) -> None:
        """A file that is locked later likewise, each time; within a second nothing is tried."""
        self.write("Hello")
        self.start()
        for _ in range(2):
            self.assertEqual("hit: Hello", self.said())
            other = self.lock()
            self.assertEqual("fallback: locked", self.said())
            other.execute("ROLLBACK")
            self.clock.advance(0.9)
            self.assertEqual("fallback: locked", self.said())
            self.clock.advance(0.1)
            self.assertEqual(["fallback: locked", "hit: Hello"], [self.said(), self.said()])
            self.assertEqual(1, len(self.warnings()))

    def test_waiting_for_a_lock(self) -> None:
        """Of those who ask at once only the first waits for a lock."""
        self.write("Hello")
        turns: list[Callable[[], object]] = []

        def later(function: Callable[..., None], *arguments: Any) -> Deferred[None]:
            done: Deferred[None] = Deferred()
            turns.append(lambda: in_thread(function, *arguments).chainDeferred(done))
            return done

        self.used = Conversations("d", str(self.path), "llmd", False, self.clock, Lookups(later), in_thread)
        self.used.open()
        tries: list[str] = []

        def counted(path: str) -> AbstractContextManager[None]:
            tries.append(path)
            return told_of(path)

        self.patch(corpus_module, "told_of", counted)
        self.lock()
        extent = Extent(0, 9, explicit=True)
        findings = [
            Deferred.fromCoroutine(self.used.find(prompt_of("hi"), extent, random.Random(1))) for _ in range(40)
        ]
        while turns:
            turns.pop(0)()
        self.assertEqual({"locked"}, {self.successResultOf(finding).trouble for finding in findings})
        self.assertEqual((1, 1), (len(tries), len(self.warnings())))

    def test_deleted(self) -> None:
        """A file that is deleted is used again when it is back, whatever it is then, if it is a dataset."""
        self.write("Hello")
        self.start()
        self.path.unlink()
        self.assertEqual("fallback: broken", self.said())
        [warning] = self.warnings()
        self.assertIn(f"database file does not exist: {self.path}. It is tried again.", warning)
        self.clock.advance(1)
        self.assertEqual(["fallback: broken"] * 2, [self.said(), self.said()])
        self.path.write_text("no database")
        self.clock.advance(1)
        self.assertEqual(["fallback: broken"] * 2, [self.said(), self.said()])
        self.path.unlink()
        self.write("Good day")
        self.clock.advance(1)
        self.assertEqual(["fallback: broken", "hit: Good day"], [self.said(), self.said()])
        self.assertEqual([], self.warnings())

    def test_cut_off(self) -> None:
        """A file that is cut off is used again when it is whole."""
        self.write("Hello" * 20_000)
        whole = self.path.read_bytes()
        self.start()
        os.truncate(self.path, 8192)
        self.assertEqual("fallback: broken", self.said())
        self.clock.advance(1)
        self.assertEqual(["fallback: broken"] * 2, [self.said(), self.said()])
        self.path.write_bytes(whole)
        self.clock.advance(1)
        self.assertEqual("fallback: broken", self.said())
        self.assertEqual("hit: Hello", self.said()[:10])
        self.assertEqual(1, len(self.warnings()))

    def test_replaced(self) -> None:
        """A file that another takes the place of answers until that has been read."""
        self.write("Hello")
        self.start()
        self.path.rename(self.folder / "old")
        self.write("Good day")
        turns: list[tuple[Any, ...]] = []
        reading: list[Deferred[Any]] = []

        def later(*work: Any) -> Deferred[Any]:
            turns.append(work)
            reading.append(Deferred())
            return reading[-1]

        self.threads = later
        self.assertEqual(["hit: Hello"] * 3, [self.said() for _ in range(3)])
        [(function, *arguments)] = turns
        reading[0].callback(function(*arguments))
        self.assertEqual("hit: Good day", self.said())
        self.assertEqual(([], 1), (self.warnings(), len(turns)))

    def test_changed(self) -> None:
        """A file that is written to is read anew, but not all the time."""
        self.write("one")
        self.start()
        self.write("two")
        self.assertEqual(["fallback: broken", "hit: two"], [self.said(), self.said()])
        self.write("three")
        self.assertEqual(["fallback: broken"] * 2, [self.said(), self.said()])
        self.clock.advance(1)
        self.assertEqual(["fallback: broken", "hit: three"], [self.said(), self.said()])
        self.database([row_of("new", "more")])
        self.clock.advance(1)
        self.assertEqual(["miss: three", "hit: more"], [self.said("new"), self.said("new")])
        self.assertEqual([], self.warnings())

    def test_long_reading(self) -> None:
        """A file that takes long to read and changes all the time is read a tenth of the time."""
        self.write("one")
        self.start()
        reads: list[float] = []

        def slow(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
            reads.append(self.clock.seconds())
            self.clock.advance(3)
            return in_thread(function, *arguments)

        self.threads = slow
        for number in range(100):
            os.utime(self.path, ns=(number, number))
            self.said()
            self.clock.advance(1)
        self.assertEqual([0.0, 33.0, 66.0], [read for read in reads if read < 99])

    def test_replaced_by_another(self) -> None:
        """A file that something else takes the place of is used no more, and warned of."""
        self.write("Hello")
        self.start()
        self.path.write_text("no database")
        self.said()
        self.assertEqual("fallback: broken", self.said())
        self.assertEqual(1, len(self.warnings()))

    def test_memory(self) -> None:
        """What was read into memory answers whatever becomes of the file."""
        self.write("Hello")
        self.start(in_memory=True)
        self.lock()
        self.path.unlink()
        self.assertEqual("hit: Hello", self.said())

    def test_memory_locked(self) -> None:
        """A file that is to be read into memory and is locked is read when it is free."""
        self.write("Hello")
        other = self.lock()
        self.start(in_memory=True)
        self.assertEqual("fallback: locked", self.said())
        other.execute("ROLLBACK")
        self.clock.advance(1)
        self.assertEqual(["fallback: locked", "hit: Hello"], [self.said(), self.said()])

    def test_closed_while_opening(self) -> None:
        """A file that is opened when all comes to an end is closed again."""
        self.write("Hello")
        other = self.lock()
        self.start()
        other.execute("ROLLBACK")
        opened: list[Any] = []

        def close_too(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
            opened.append(function(*arguments))
            self.successResultOf(self.used.close())
            return in_thread(lambda: opened[0])

        self.threads = close_too
        self.clock.advance(1)
        self.assertEqual(["fallback: locked"] * 2, [self.said(), self.said()])
        error = self.assertRaises(BadRecordError, opened[0].find, [hash_of(1)], 0, 9, random.Random(1))
        self.assertIn("closed database", str(error))

    def test_unexpected(self) -> None:
        """What should not happen while a file is opened is logged, and the file is tried again."""
        self.write("Hello")
        other = self.lock()
        self.start()
        other.execute("ROLLBACK")

        self.threads = lambda *_: fail(ZeroDivisionError())
        self.clock.advance(1)
        self.assertEqual("fallback: locked", self.said())
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.threads = in_thread
        self.clock.advance(1)
        self.assertEqual(["fallback: locked", "hit: Hello"], [self.said(), self.said()])
