"""What becomes of the log when it cannot be written."""

import errno
import os
import time
from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet import task
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.logs.output import CLOSING, LONGEST_RETRY, MOST_WAITING, Output, tell_errors


@define(eq=False)
class Place:
    """Takes what the test says.

    :param room: bytes that it takes.
    :param error: what it raises when there is no room.
    :param fresh: whether it has become another file.
    """

    room: float = 0
    error: OSError = field(factory=lambda: OSError(errno.ENOSPC, "No space left on device"))
    fresh: bool = False
    taken: bytes = b""

    def settle(self) -> bool:
        """Get ready."""
        fresh, self.fresh = self.fresh, False
        return fresh

    def write(self, data: memoryview) -> int:
        """Take some, and rarely all at a time."""
        size = int(min(len(data), self.room, 1 << 20))
        if not size:
            raise self.error
        self.room -= size
        self.taken += data[:size]
        return size


class Clock(task.Clock):
    """A reactor in whose thread everything is."""

    def callFromThread(self, function: Callable[[], object]) -> None:
        """Call it."""
        function()


class OutputTests(SynchronousTestCase):
    """An output, and a place for it."""

    def setUp(self) -> None:
        """Have one, on a disk that is full."""
        self.place = Place()
        self.clock = Clock()
        self.errors: list[str] = []
        self.output = Output(self.place, self.clock, self.errors.append)
        self.events: list[Any] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def say(self, *texts: str) -> None:
        """Log some lines."""
        for text in texts:
            self.output.write(f"{text}\n")
            self.output.flush()

    def told(self) -> list[str]:
        """Tell what is said about the log itself."""
        return [each["log_format"].format(**each) for each in self.events]

    def test_written(self) -> None:
        """What can be written is written, at once, and nothing is said about that."""
        self.place.room = 1000
        self.say("a longer line", "another")
        self.assertEqual(b"a longer line\nanother\n", self.place.taken)
        self.assertEqual(([], [], []), (self.errors, self.told(), self.clock.getDelayedCalls()))

    def test_full(self) -> None:
        """On a full disk trouble is told once; when there is room again everything is there, and that is told once."""
        self.say("one", "two", "three")
        self.assertEqual(
            ["vllmsim: the log cannot be written: No space left on device. Requests go on.\n"], self.errors
        )
        self.place.room = 1000
        self.say("four")
        self.clock.advance(LONGEST_RETRY)
        self.assertEqual(b"one\ntwo\nthree\nfour\n", self.place.taken)
        self.assertEqual(["The log is written again (No space left on device); 0 events are lost."], self.told())
        self.assertEqual([], self.clock.getDelayedCalls())
        self.place.room = 0
        self.say("five")
        self.assertEqual(2, len(self.errors))

    def test_later(self) -> None:
        """It is written when there is room, also when nothing more is said."""
        self.say("one")
        tries = 0
        for _ in range(1000):
            tries += self.clock.getDelayedCalls()[0].getTime() <= self.clock.seconds() + 0.01
            self.clock.advance(0.01)
        self.assertTrue(14 < tries < 24, tries)
        self.place.room = 1000
        self.clock.advance(LONGEST_RETRY)
        self.assertEqual(b"one\n", self.place.taken)
        self.assertEqual(1, len(self.told()))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_lost(self) -> None:
        """Only so much waits; what is beyond that is counted, and what waited comes out in its order."""
        line, count = "x" * 99_999, MOST_WAITING // 100_000
        self.say(*[line] * count, *["y" * 99_999] * 5)
        self.assertEqual(1, len(self.errors))
        self.place.room = 10 * MOST_WAITING
        self.clock.advance(LONGEST_RETRY)
        self.assertEqual([99_999] * count, [len(each) for each in self.place.taken.splitlines()])
        self.assertNotIn(b"y", self.place.taken)
        self.assertTrue(self.told()[0].endswith("5 events are lost."), self.told())

    def test_long(self) -> None:
        """One event may be as long as it likes."""
        self.place.room = 10 * MOST_WAITING
        self.say("x" * 2 * MOST_WAITING)
        self.assertEqual(2 * MOST_WAITING + 1, len(self.place.taken))

    def test_slow(self) -> None:
        """A reader who is slow for a moment is no trouble; one for whom something is lost is."""
        self.place.error = BlockingIOError("nobody reads it")
        self.say("one")
        self.place.room = 1000
        self.clock.advance(LONGEST_RETRY)
        self.assertEqual((b"one\n", [], []), (self.place.taken, self.errors, self.told()))
        self.place.room = 0
        self.say("x" * MOST_WAITING, "lost", "lost too")
        self.assertEqual(["vllmsim: the log cannot be written: nobody reads it. Requests go on.\n"], self.errors)
        self.place.room = 10 * MOST_WAITING
        self.clock.advance(LONGEST_RETRY)
        self.assertTrue(self.told()[0].endswith("2 events are lost."), self.told())

    def test_half(self) -> None:
        """A line that is there in part goes on behind that, and is there as a whole if the file is another one."""
        for fresh, expected in ((False, b"0123456789\n"), (True, b"01230123456789\n")):
            self.place.taken, self.place.room = b"", 4
            self.say("0123456789")
            self.place.room, self.place.fresh = 1000, fresh
            self.clock.advance(LONGEST_RETRY)
            self.assertEqual(expected, self.place.taken)

    def test_end(self) -> None:
        """When the program ends, whoever reads has a moment; nobody waits for a disk."""
        self.say("one")
        self.output.close()
        self.place.error = BlockingIOError("nobody reads it")
        slept: list[float] = []

        def sleep(seconds: float) -> None:
            slept.append(seconds)

        self.patch(time, "sleep", sleep)
        self.patch(time, "monotonic", lambda: sum(slept))
        self.output.close()
        self.assertTrue(CLOSING <= sum(slept) < CLOSING + 0.1)
        self.place.room = 1000
        self.output.close()
        self.assertEqual(b"one\n", self.place.taken)

    def test_slow_end(self) -> None:
        """Whoever reads slowly when the program ends is waited for as long as something is read."""
        self.place.error = BlockingIOError()
        self.output.write("x" * 500)
        now = 0.0

        def sleep(_seconds: float) -> None:
            nonlocal now
            now += CLOSING / 2
            self.place.room = 100

        self.patch(time, "sleep", sleep)
        self.patch(time, "monotonic", lambda: now)
        self.output.close()
        self.assertEqual(500, len(self.place.taken))

    def test_encoding(self) -> None:
        """What cannot be encoded is an escape."""
        self.place.room = 100
        said = Output(self.place, self.clock, self.errors.append, "ascii")
        said.write("\u00e4\ud800")
        said.flush()
        self.assertEqual(b"\\xe4\\ud800", self.place.taken)

    def test_errors(self) -> None:
        """Trouble is told on standard error, if that is somewhere."""
        reading, writing = os.pipe()
        tell_errors("told", writing)
        self.assertEqual(b"told", os.read(reading, 10))
        os.close(reading)
        tell_errors("in vain", writing)
        os.close(writing)
