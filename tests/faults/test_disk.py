"""Disks that are full, files that are gone, and readers of the log who sleep or have left."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import skipUnless

from tests.faults.case import TWISTD, Disk, FaultTestCase, figure, may_mount
from tests.folders import make_folder
from tests.integration.daemon import ROOT, Daemon, free_port, until

LOUD = ("--log-http", "--access-log", "--max-model-len", "8192", "--log-format", "json")
"""Has every request make three events: the access log's, and two with its body and answer."""
LONG: Any = {"prompt": f"{'x' * 130} " * 1000, "max_tokens": 1}
"""A request whose events are 130 KB."""
MANY = 200
"""So many of it are more than may wait for a log."""
RETURN = "The log is written again"


def asked(lines: list[str]) -> list[Any]:
    """Read the events of requests for completions."""
    return [each for each in map(json.loads, lines) if "/v1/completions" in each["message"]]


class LogTestCase(FaultTestCase):
    """Looks at logs of JSON."""

    def ask_long(self, daemon: Daemon, count: int = MANY) -> None:
        """Have requests served that fill a log."""
        for _ in range(count):
            self.assertEqual(200, self.ask(daemon, **LONG)[0])

    def check(self, lines: list[str], requests: int, words: str) -> int:
        """Hold that lines are whole, that those that are missing were counted, and that this is told once.

        :param requests: how many there were of :data:`LONG`.
        :param words: why the log could not be written.
        :return: how many events are missing.
        """
        told = [each for each in map(json.loads, lines) if each["message"].startswith(RETURN)]
        self.assertEqual([words], [each["reason"] for each in told])
        self.assertEqual(3 * requests, len(asked(lines)) + int(told[0]["lost"]))
        return int(told[0]["lost"])


class StreamTests(LogTestCase):
    """A log that goes to standard output."""

    def redirected(self, where: str, *words: str) -> Daemon:
        """Start a daemon whose output goes somewhere, while errors come here."""
        daemon = self.start(*words, program=["sh", "-c", f'exec "$0" "$@" >{where}', *TWISTD, "vllmsim"])
        daemon.wait()
        return daemon

    def test_full(self) -> None:
        """A log on a full disk costs no request: that is told once, on standard error, and the end is in order."""
        daemon = self.redirected("/dev/full", *LOUD)
        self.served(daemon, 20)
        expected = "vllmsim: the log cannot be written: No space left on device. Requests go on.\n"
        self.assertEqual(expected, self.ended(daemon))

    def piped(self, *words: str) -> tuple[Daemon, int]:
        """Start a daemon whose log goes into a pipe.

        :return: it, and where the pipe can be read.
        """
        path = make_folder(self) / "pipe"
        os.mkfifo(path)
        reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        return self.redirected(str(path), *words), reading

    def test_nobody_reads(self) -> None:
        """A log that nobody reads makes no request wait; who reads again finds whole lines, and how many miss."""
        daemon, reading = self.piped(*LOUD)
        self.addCleanup(os.close, reading)
        self.ask_long(daemon)
        read = bytearray()

        def drain() -> bool:
            try:
                read.extend(os.read(reading, 1 << 20))
            except BlockingIOError:
                return RETURN.encode() in read
            return False

        until(drain)
        # Some health checks are lost as well: of those that wait for the daemon none, as they come first.
        lost = self.check(read.decode("ascii").splitlines(), MANY, "nobody reads it")
        self.assertGreater(lost, 0)
        figure(f"log that nobody reads: {MANY} of {MANY} requests served, {lost} of {3 * MANY} events lost and counted")
        self.assertIn("cannot be written: nobody reads it", self.ended(daemon))

    def test_reader_gone(self) -> None:
        """A log whose reader has left costs no request."""
        daemon, reading = self.piped(*LOUD)
        os.close(reading)
        self.ask_long(daemon, 10)
        expected = "vllmsim: the log cannot be written: Broken pipe. Requests go on.\n"
        self.assertEqual(expected, self.ended(daemon))

    def test_ranks(self) -> None:
        """Ranks in processes go on while nobody reads their log, and while nobody reads that of their supervisor."""
        daemon, reading = self.piped(
            *LOUD, "--data-parallel-processes", "--data-parallel-supervisor-port", str(free_port())
        )
        self.ask_long(daemon, 20)
        os.close(reading)
        self.ask_long(daemon, 10)
        self.ended(daemon)


class FileTests(LogTestCase):
    """A log in a file."""

    def setUp(self) -> None:
        """Have a folder for it."""
        self.folder = make_folder(self)
        self.log = self.folder / "log"

    def logging(self, *words: str) -> Daemon:
        """Start a daemon with a log there."""
        daemon = self.start(*LOUD, *words, program=[*TWISTD, f"--logfile={self.log}", "vllmsim"])
        daemon.wait()
        return daemon

    @skipUnless(may_mount(), "needs the right to mount")
    def test_full(self) -> None:
        """On a disk that is full for a while requests go on; then lines are whole, and those that are lost counted."""
        disk = Disk(self.folder, 32 << 10)
        daemon = disk.start(self, *LOUD, twistd=(f"--logfile={self.log}",))
        disk.fill()
        self.ask_long(daemon)
        disk.clear()
        until(lambda: RETURN in disk.path("log").read_text("ascii"))
        # It turns at a million bytes.
        paths = [path for path in disk.path("").iterdir() if path.name.startswith("log")]
        lines = [line for path in paths for line in path.read_text("ascii").splitlines()]
        lost = self.check(lines, MANY, "No space left on device")
        self.assertGreater(lost, 0)
        figure(f"log on a full disk: {MANY} of {MANY} requests served, {lost} of {3 * MANY} events lost and counted")
        self.assertEqual(1, self.ended(daemon).count("the log cannot be written: No space left on device."))

    def test_gone(self) -> None:
        """A log that is moved away, or removed, or emptied goes on in a file at its path."""
        daemon = self.logging()
        for act in (lambda: self.log.rename(self.folder / "old"), self.log.unlink, lambda: os.truncate(self.log, 0)):
            self.assertTrue(self.log.read_bytes())
            act()
            self.served(daemon)
            until(lambda: self.log.exists() and len(asked(self.log.read_text("ascii").splitlines())) == 3)
        self.assertEqual("", self.ended(daemon))

    def test_folder_gone(self) -> None:
        """Without its folder the log waits, and that is told once; when the folder is there again, so is the log."""
        daemon = self.logging()
        shutil.rmtree(self.folder)
        self.served(daemon, 5)
        self.folder.mkdir()
        until(lambda: self.log.exists() and RETURN in self.log.read_text("ascii"))
        self.check(self.log.read_text("ascii").splitlines(), 5, "No such file or directory")
        self.assertEqual(1, len(self.ended(daemon).splitlines()))


class StartTests(FaultTestCase):
    """What is written before a server listens, or by programs that end."""

    def run_(self, *words: str, output: str = "") -> tuple[int, str]:
        """Run a program to its end.

        :param output: where what it prints goes.
        :return: its status, and what it says on standard error.
        """
        with open(output or os.devnull, "w") as file:  # noqa: PTH123 - a device
            done = subprocess.run(
                words, stdout=file, stderr=subprocess.PIPE, cwd=ROOT, text=True, timeout=60, check=False
            )
        return done.returncode, done.stderr

    def test_printed(self) -> None:
        """What is asked for and cannot be printed is one line and a status."""
        for word in ("--print-config", "--help", "--version"):
            said = self.run_(*TWISTD, "vllmsim", word, output="/dev/full")
            self.assertEqual((1, "vllmsim: cannot print: No space left on device\n"), said, word)

    def test_log(self) -> None:
        """A log that cannot be opened is one line and a status."""
        status, said = self.run_(*TWISTD, "--logfile=/dev/null/log", "vllmsim", "--port", str(free_port()))
        self.assertEqual(1, status)
        self.assertEqual("vllmsim: cannot start: the log /dev/null/log: Not a directory\n", said)


class RequestLogTests(FaultTestCase):
    """The request log."""

    @skipUnless(may_mount(), "needs the right to mount")
    def test_full(self) -> None:
        """On a disk that is full for a while requests go on, and every one has its whole line in the end."""
        folder = make_folder(self)
        disk = Disk(folder, 1024)
        daemon = disk.start(self, "--request-log", str(folder / "requests"))
        self.served(daemon)
        disk.fill()
        self.served(daemon, 100)
        until(lambda: "Cannot write to the request log" in daemon.output())
        disk.clear()
        until(lambda: "is written again; 0 lines are lost" in daemon.output())
        lines = [json.loads(line) for line in disk.path("requests").read_text("ascii").splitlines()]
        self.assertEqual(list(range(1, 102)), sorted(each["number"] for each in lines))
        output = self.ended(daemon)
        self.assertEqual(1, output.count("Cannot write to the request log"))
        figure("request log on a full disk: 101 requests served, 101 whole lines, 2 lines told in the log")

    @skipUnless(may_mount(), "needs the right to mount")
    def test_read_only(self) -> None:
        """So it is on a file system that becomes read-only for a while."""
        folder = make_folder(self)
        disk = Disk(folder, 1024)
        daemon = disk.start(self, "--request-log", str(folder / "requests"))
        enter = ["nsenter", "--target", str(daemon.process.pid), "--mount", "mount", "-o"]
        subprocess.run([*enter, "remount,ro", str(folder)], check=True)
        self.served(daemon, 20)
        until(lambda: "Read-only file system" in daemon.output())
        subprocess.run([*enter, "remount,rw", str(folder)], check=True)
        until(lambda: "is written again; 0 lines are lost" in daemon.output())
        self.assertEqual(20, len(disk.path("requests").read_text("ascii").splitlines()))
        self.ended(daemon)


class DatasetTests(FaultTestCase):
    """Datasets."""

    def build(self, folder: Path, count: int) -> list[str]:
        """Write conversations, and make the words that have a dataset built of them into a folder."""
        source = make_folder(self) / "conversations.jsonl"
        turns = [{"role": "user", "content": "hi " * 50}, {"role": "assistant", "content": "well " * 200}]
        lines = [json.dumps({"messages": [{**turns[0], "content": f"{each} hi"}, turns[1]]}) for each in range(count)]
        source.write_text("\n".join(lines))
        command = str(Path(sys.executable).with_name("vllmsim-dataset"))
        return [command, str(source), "--output-path", str(folder), "--output-file", "made"]

    @skipUnless(may_mount(), "needs the right to mount")
    def test_built(self) -> None:
        """A dataset for which there is no room is a line and a status, and nothing of it is left."""
        folder = make_folder(self)
        words = self.build(folder, 500)
        script = '"$@"; status=$?; ls -A "$0"; exit $status'
        program = Disk(folder, 256).program("sh", "-c", script, str(folder), *words)
        done = subprocess.run(program, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
        self.assertEqual((1, ""), (done.returncode, done.stdout), done.stderr)
        told = done.stderr.splitlines()
        self.assertIn("vllmsim-dataset: ", told[-1])
        self.assertRegex(told[-1], "No space left on device|database or disk is full")
        self.assertNotIn("Traceback", done.stderr)

    @skipUnless(may_mount(), "needs the right to mount")
    def test_served(self) -> None:
        """A dataset on a disk that is full is served, from the start on."""
        folder = make_folder(self)
        made = make_folder(self)
        subprocess.run(self.build(made, 50), capture_output=True, cwd=ROOT, timeout=60, check=True)
        disk = Disk(folder, 1024)
        copy = f"cp {made}/made.sqlite3 {folder}/; cat /dev/zero > {folder}/ballast; "
        program = disk.program("sh", "-c", copy + 'exec "$@"', "sh", *TWISTD, "vllmsim")
        daemon = self.start("--dataset-path", str(folder / "made.sqlite3"), program=program)
        daemon.wait()
        status, answer = self.ask(daemon, "/v1/chat/completions", messages=[{"role": "user", "content": "7 hi"}])
        self.assertEqual(200, status)
        self.assertTrue(answer["choices"][0]["message"]["content"].startswith("well well"), answer)
        self.served(daemon, 20)
        self.ended(daemon)
