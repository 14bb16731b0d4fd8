"""Where lines of the log go."""

import fcntl
import os
import pty
import signal
from pathlib import Path

from twisted.python.logfile import LogFile
from twisted.trial.unittest import SynchronousTestCase

from tests.folders import make_folder
from vllmsim.logs.places import FilePlace, StreamPlace


class StreamTests(SynchronousTestCase):
    """Standard output, and what others make of it."""

    def test_pipe(self) -> None:
        """A pipe that nobody reads takes what it has room for, and then says so; it does not wait."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, writing)
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 1 << 16)
        place, written = StreamPlace(writing), 0
        with self.assertRaises(BlockingIOError):
            while True:
                written += place.write(memoryview(b"x" * 100_000))
        self.assertEqual(1 << 16, written)
        self.assertEqual(1 << 15, len(os.read(reading, 1 << 15)))
        self.assertGreater(place.write(memoryview(b"x")), 0)
        os.close(reading)
        self.assertRaises(BrokenPipeError, place.write, memoryview(b"x"))

    def terminal(self) -> int:
        """Open one that nobody reads, and find the end that is written to."""
        reading, writing = pty.openpty()
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, writing)
        return writing

    def fill(self, place: StreamPlace, line: bytes) -> None:
        """Write lines until there is no more room for one; it does not wait, however little there is."""
        self.addCleanup(place.close)
        signal.signal(signal.SIGALRM, lambda *_: self.fail("it waits"))
        self.addCleanup(signal.signal, signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20)
        self.addCleanup(signal.alarm, 0)
        rest = memoryview(line * 10_000)
        with self.assertRaises(BlockingIOError):
            while rest:
                rest = rest[place.write(rest) :]
        self.assertTrue(0 < len(rest) < 10_000 * len(line))

    def test_terminal(self) -> None:
        """So does a terminal, as of a session whose network is gone, and what others write to it waits as before."""
        for line in (b"\n", b"ab\n", b"x" * 200 + b"\n"):
            writing = self.terminal()
            self.fill(StreamPlace(writing), line)
            self.assertFalse(fcntl.fcntl(writing, fcntl.F_GETFL) & os.O_NONBLOCK)

    def test_terminal_of_another(self) -> None:
        """So does one that may not be opened, as it is somebody else's."""

        def refuse(*_: object) -> int:
            raise PermissionError

        self.patch(os, "open", refuse)
        self.fill(StreamPlace(self.terminal()), b"ab\n")

    def test_terminal_closed(self) -> None:
        """What was opened for it is closed with it."""
        writing, before = self.terminal(), len(list(Path("/proc/self/fd").iterdir()))
        place = StreamPlace(writing)
        place.write(memoryview(b"x"))
        place.close()
        place.close()
        self.assertEqual(before, len(list(Path("/proc/self/fd").iterdir())))
        self.assertEqual(1, os.write(writing, b"x"))

    def test_full(self) -> None:
        """A full disk is no reader who is slow."""
        descriptor = os.open("/dev/full", os.O_WRONLY)
        self.addCleanup(os.close, descriptor)
        place = StreamPlace(descriptor)
        self.assertFalse(place.settle())
        error = self.assertRaises(OSError, place.write, memoryview(b"x"))
        self.assertNotIsInstance(error, BlockingIOError)


class FileTests(SynchronousTestCase):
    """A file that others move, remove and empty."""

    def setUp(self) -> None:
        """Have one."""
        self.addCleanup(signal.signal, signal.SIGUSR1, signal.getsignal(signal.SIGUSR1))
        self.folder = make_folder(self) / "logs"
        self.folder.mkdir()
        self.path = self.folder / "log"
        self.log = LogFile.fromFullPath(str(self.path), rotateLength=10)
        self.place = FilePlace(self.log)

    def tearDown(self) -> None:
        """Have none."""
        self.log.close()

    def say(self, text: str) -> bool:
        """Write a line.

        :return: whether it is the first of its file.
        """
        fresh = self.place.settle()
        self.place.write(memoryview(f"{text}\n".encode()))
        return fresh

    def lines(self, name: str = "log") -> list[str]:
        """Read a file."""
        return Path(self.folder, name).read_text("ascii").splitlines()

    def test_moved(self) -> None:
        """Where the file is moved away or removed, the next line is in a new one, and the former is let go."""
        self.say("a")
        self.assertFalse(self.say("b"))
        before = list(Path("/proc/self/fd").iterdir())
        self.path.rename(self.folder / "old")
        self.assertTrue(self.say("c"))
        self.path.unlink()
        self.assertTrue(self.say("d"))
        self.assertEqual((["a", "b"], ["d"]), (self.lines("old"), self.lines()))
        self.assertEqual(len(before), len(list(Path("/proc/self/fd").iterdir())))

    def test_emptied(self) -> None:
        """Where the file is emptied, the next line is its first."""
        self.say("a")
        os.truncate(self.path, 0)
        self.assertTrue(self.say("b"))
        self.assertEqual(["b"], self.lines())

    def test_turns(self) -> None:
        """A file that is long enough becomes another, as twistd has it."""
        for text in ("0123456789", "b"):
            self.say(text)
        self.assertEqual((["0123456789"], ["b"]), (self.lines("log.1"), self.lines()))

    def test_folder_gone(self) -> None:
        """Without a place for a file there is trouble, which ends when there is one."""
        self.path.unlink()
        self.folder.rename(self.folder.with_name("x"))
        self.assertRaises(OSError, self.say, "a")
        self.folder.mkdir()
        self.assertTrue(self.say("b"))
        self.assertEqual(["b"], self.lines())

    def test_moved_for_good(self) -> None:
        """Where no new file can be made, what is said goes to the one that was moved."""
        self.say("a")
        self.path.rename(self.folder / "old")
        self.path.mkdir()
        self.assertFalse(self.say("b"))
        self.assertEqual(["a", "b"], self.lines("old"))

    def test_not_turned(self) -> None:
        """Where another file cannot be begun, the file goes on."""
        self.say("0123456789")

        def break_off() -> None:
            self.log._file.close()
            raise OSError

        self.patch(self.log, "rotate", break_off)
        self.say("b")
        self.assertEqual(["0123456789", "b"], self.lines())

    def test_half_turned(self) -> None:
        """A rotation that breaks off is made up for."""
        self.say("a")
        self.log._file.close()
        self.say("b")
        self.assertEqual(["a", "b"], self.lines())
