"""The request log: every request has its line, whatever happens to the file."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import in_thread
from tests.folders import fill_disk
from vllmsim.appending import INTERVAL, MOST_WAITING, RETRY
from vllmsim.journal.requestlog import RequestLog
from vllmsim.records import RequestRecord


def line(record: RequestRecord) -> bytes:
    """Write a record's number."""
    return b"%d\n" % record.number


class RequestLogTests(SynchronousTestCase):
    """A log in a directory of its own."""

    def setUp(self) -> None:
        """Make it."""
        self.clock = Clock()
        directory = Path(self.mktemp())
        directory.mkdir()
        self.path = directory / "requests.jsonl"
        self.log = self.make()
        self.number = 0

    def make(self, defer_to_thread: Callable[..., Deferred[Any]] = in_thread) -> RequestLog:
        """Make a log."""
        return RequestLog(str(self.path), line, self.clock, defer_to_thread)

    def add(self, count: int = 1) -> None:
        """Add lines."""
        for _ in range(count):
            self.number += 1
            self.log.ended(RequestRecord("/route", self.number))

    def lines(self, path: Path | None = None) -> list[int]:
        """Read the numbers in a file."""
        return [int(number) for number in (path or self.path).read_bytes().split()]

    def fill_disk(self) -> None:
        """Add three lines to a disk that is full in the middle of the second; then there is room again."""
        fill_disk(self, 6)
        self.number = 100
        self.add(3)
        self.clock.advance(INTERVAL)
        self.assertEqual(b"101\n10", self.path.read_bytes())

    def test_written(self) -> None:
        """Lines are written soon, in order, behind what is there; then there is nothing to do."""
        self.path.write_bytes(b"0\n")
        self.add(2)
        self.clock.advance(INTERVAL / 2)
        self.add()
        self.assertEqual([0], self.lines())
        self.clock.advance(INTERVAL / 2)
        self.assertEqual(([0, 1, 2, 3], []), (self.lines(), self.clock.getDelayedCalls()))

    def test_private(self) -> None:
        """A file that is made can be read by its owner alone."""
        self.log.check()
        self.assertEqual(0o600, self.path.stat().st_mode & 0o777)

    def test_many(self) -> None:
        """Thousands of lines go in pieces."""
        self.add(2500)
        self.clock.advance(INTERVAL)
        self.assertEqual(list(range(1, 2501)), self.lines())

    def test_off_the_reactor(self) -> None:
        """Nothing is written while a thread is at it, and what comes meanwhile goes behind it."""
        threads: list[tuple[Deferred[Any], Any]] = []

        def later(*work: Any) -> Deferred[Any]:
            threads.append((Deferred(), work))
            return threads[-1][0]

        def finish() -> None:
            done, (function, *arguments) = threads.pop(0)
            done.callback(function(*arguments))

        self.log = self.make(later)
        for _ in range(3):
            self.add()
            self.clock.advance(INTERVAL)
        self.assertEqual(1, len(threads))
        finish()
        self.assertEqual([1], self.lines())
        finish()
        self.assertEqual(([1, 2, 3], []), (self.lines(), threads))

    def test_moved(self) -> None:
        """When the file is moved away, further lines are in a new one."""
        self.add()
        self.clock.advance(INTERVAL)
        old = self.path.rename(self.path.with_suffix(".1"))
        self.add()
        self.clock.advance(INTERVAL)
        self.assertEqual(([1], [2]), (self.lines(old), self.lines()))

    def test_trouble(self) -> None:
        """While the file cannot be written lines are kept, which is said once, and so is the end of it."""
        self.path.mkdir()
        with capturedLogs() as said:
            for _ in range(3):
                self.add()
                self.clock.advance(RETRY)
            self.path.rmdir()
            self.clock.advance(RETRY)
        self.assertEqual(([1, 2, 3], []), (self.lines(), self.clock.getDelayedCalls()))
        starts = [formatEvent(event).partition(str(self.path))[0] for event in said]
        self.assertEqual(["Cannot write to the request log ", "The request log "], starts)

    def test_full(self) -> None:
        """A line that is written in part, since the disk is full, is completed when there is room again."""
        self.fill_disk()
        self.clock.advance(RETRY)
        self.assertEqual(b"101\n102\n103\n", self.path.read_bytes())

    def test_emptied(self) -> None:
        """It begins again when its part is no more: the file was emptied, or moved away, to make room."""
        self.fill_disk()
        self.path.write_bytes(b"")
        self.clock.advance(RETRY)
        self.assertEqual(b"102\n103\n", self.path.read_bytes())

    def test_full_and_moved(self) -> None:
        """So it does in a new file, also when that cannot be opened for a while."""
        self.fill_disk()
        old = self.path.rename(self.path.with_suffix(".1"))
        self.path.mkdir()
        self.clock.advance(RETRY)
        self.path.rmdir()
        self.clock.advance(RETRY)
        self.assertEqual((b"101\n10", [102, 103]), (old.read_bytes(), self.lines()))

    def test_full_and_not_opened(self) -> None:
        """It goes on behind its part when the same file cannot be opened for a while."""
        self.fill_disk()
        old = self.path.rename(self.path.with_suffix(".1"))
        self.path.mkdir()
        self.clock.advance(RETRY)
        self.path.rmdir()
        old.rename(self.path)
        self.clock.advance(RETRY)
        self.assertEqual([101, 102, 103], self.lines())

    def test_too_many(self) -> None:
        """When too many lines wait further ones are lost, and counted."""
        self.path.mkdir()
        self.add(MOST_WAITING + 5)
        self.clock.advance(INTERVAL)
        self.path.rmdir()
        with capturedLogs() as said:
            self.clock.advance(RETRY)
        self.assertEqual((list(range(1, MOST_WAITING + 1)), [5]), (self.lines(), [event["lost"] for event in said]))

    def test_check(self) -> None:
        """A path that cannot be opened is an error at once, and so is a pipe that nobody reads."""
        self.path.mkdir()
        self.assertRaises(IsADirectoryError, self.log.check)
        self.path.rmdir()
        os.mkfifo(self.path)
        self.assertRaises(OSError, self.log.check)

    def test_stop(self) -> None:
        """At the end everything is written, and no timer is left, nor is one made for what cannot be."""
        self.add(2)
        self.successResultOf(self.log.stop())
        self.assertEqual(([1, 2], []), (self.lines(), self.clock.getDelayedCalls()))
        self.path.unlink()
        self.path.mkdir()
        self.add()
        self.successResultOf(self.log.stop())
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_broken(self) -> None:
        """A thread that breaks is logged, and stops no later line."""
        work: list[Callable[..., Any]] = [lambda *_: succeed(1 // 0)]
        self.log = self.make(lambda *arguments: work.pop(0)(*arguments) if work else in_thread(*arguments))
        for _ in range(2):
            self.add()
            self.clock.advance(INTERVAL)
        self.assertEqual([2], self.lines())
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
