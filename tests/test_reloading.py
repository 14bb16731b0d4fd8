"""Reading the configuration again."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from tests.fakes import in_thread
from vllmsim.config.loading import Loaded
from vllmsim.errors import InvalidRequest
from vllmsim.reloading import Reloading


class ReloadingTests(SynchronousTestCase):
    """A file that changes."""

    def setUp(self) -> None:
        """Have a file."""
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.path = self.folder / "sim.yaml"
        self.write(1)
        self.clock = Clock()
        self.taken: list[tuple[float, str]] = []
        self.refusal: Exception | None = None

    def write(self, seconds: int, path: Path | None = None) -> None:
        """Write a file, with a time of change of its own."""
        path = path or self.path
        path.write_text(f"time-to-first-token: {seconds}s\n", "utf-8")
        os.utime(path, (seconds, seconds))

    def read(self) -> Loaded:
        """Read the sources."""
        return load_words(["--config", str(self.path)], {})

    async def take(self, loaded: Loaded, who: str) -> None:
        """Remember what the sources said."""
        if self.refusal is not None:
            raise self.refusal
        self.taken.append((loaded.configuration.time_to_first_token, who))

    def make(self, interval: float = 1.0, path: str | None = "", threads: Any = in_thread, **more: bool) -> Reloading:
        """Make the service, and start it."""
        path = str(self.path) if path == "" else path
        service = Reloading(path, interval, self.read, self.take, self.clock, threads, **more)
        service.startService()
        self.addCleanup(self.stop, service)
        return service

    def stop(self, service: Reloading) -> None:
        """Stop it: no timer is left."""
        if service.running:
            service.stopService()
        self.assertEqual([], self.clock.getDelayedCalls())

    def said(self, service: Reloading, level: LogLevel = LogLevel.info) -> list[str]:
        """Have it read, and see what the log says at a level."""
        with capturedLogs() as events:
            self.taken_over = self.successResultOf(service.reload("SIGHUP"))
        return [event["log_format"].format(**event) for event in events if event["log_level"] is level]

    def looks(self, count: int) -> list[float]:
        """Let it look at the file some times, and see what was taken over."""
        self.taken.clear()
        self.clock.pump([1.0] * count)
        return [seconds for seconds, _ in self.taken]

    def test_asked(self) -> None:
        """What the file says is taken over when somebody asks for that."""
        service = self.make(0)
        self.write(2)
        self.assertEqual([f"The configuration in {self.path} has been read again."], self.said(service))
        self.assertTrue(self.taken_over)
        self.assertEqual([(2.0, "SIGHUP")], self.taken)

    def test_other_files(self) -> None:
        """Without one, files that options name are read again, and a mistake in them changes nothing."""
        service = self.make(path=None, more=True)
        self.write(3)
        self.assertEqual(["The configuration has been read again."], self.said(service))
        self.assertEqual([(3.0, "SIGHUP")], self.taken)
        self.refusal = InvalidRequest("No.")
        self.assertEqual(["The configuration does not hold: No."], self.said(service, LogLevel.error))

    def test_no_file(self) -> None:
        """Without a file there is nothing to read, which the log says."""
        self.assertEqual(["SIGHUP: there is no configuration file to read again."], self.said(self.make(path=None)))
        self.assertEqual([], self.looks(3))

    def test_broken(self) -> None:
        """A file that is wrong changes nothing, and the log has all that is wrong with it."""
        service = self.make(0)
        self.path.write_text("port: x\nbogus: 1\n", "utf-8")
        said = self.said(service, LogLevel.error)
        self.assertFalse(self.taken_over)
        self.assertEqual(2, len(said))
        self.assertIn(f"The configuration stays as it is: port ({self.path} line 1): 'x' will not do", said[0])
        self.path.unlink()
        [line] = self.said(service, LogLevel.error)
        self.assertIn("cannot read", line)
        self.assertEqual([], self.taken)

    def test_does_not_hold(self) -> None:
        """One that does not go with what was changed in between is named in the log too."""
        self.refusal = InvalidRequest("too much")
        [line] = self.said(self.make(0), LogLevel.error)
        self.assertEqual(f"The configuration in {self.path} does not hold: too much", line)

    def test_pipe(self) -> None:
        """A pipe, which can be read only once, is not waited for."""
        self.path.unlink()
        os.mkfifo(self.path)
        [line] = self.said(self.make(1), LogLevel.error)
        self.assertIn("can be read only once", line)
        self.assertEqual([], self.looks(3))

    def test_one_at_a_time(self) -> None:
        """However often somebody asks, it is read once at a time, and once more for those who asked meanwhile."""
        held: list[Deferred[Any]] = []

        def hold(function: Any) -> Deferred[Any]:
            held.append(Deferred().addCallback(lambda _: function()))
            return held[-1]

        service = self.make(0, threads=hold)
        for _ in range(5):
            service.reload("SIGHUP")
        self.assertEqual(1, len(held))
        held[0].callback(None)
        self.assertEqual(2, len(held))
        held[1].callback(None)
        self.assertEqual((2, 2), (len(held), len(self.taken)))

    def test_watch(self) -> None:
        """A file that changes is read when it has been the same at two looks, and once; one that is touched is not."""
        self.make()
        self.assertEqual([], self.looks(3))
        self.write(2)
        self.assertEqual([[], [2.0], []], [self.looks(1), self.looks(1), self.looks(5)])
        os.utime(self.path, (9, 9))
        self.assertEqual([], self.looks(5))
        for seconds in range(3, 6):
            self.write(seconds)
            self.assertEqual([], self.looks(1))
        self.assertEqual([5.0], self.looks(5))

    def test_links(self) -> None:
        """Kubernetes' ConfigMaps are links to a folder, of which another one takes the place: what is there is read."""
        self.path.unlink()
        for name, seconds in (("one", 1), ("two", 2)):
            (self.folder / name).mkdir()
            self.write(seconds, self.folder / name / "sim.yaml")
        (self.folder / "data").symlink_to("one")
        self.path.symlink_to("data/sim.yaml")
        self.make()
        self.assertEqual([], self.looks(3))
        (self.folder / "new").symlink_to("two")
        (self.folder / "new").rename(self.folder / "data")
        self.assertEqual([2.0], self.looks(3))

    def test_gone(self) -> None:
        """A file that is gone is told of once, and read when it is there again."""
        self.make()
        self.looks(3)
        self.path.unlink()
        with capturedLogs() as events:
            self.assertEqual([], self.looks(5))
        self.assertEqual(1, len([event for event in events if event["log_level"] is LogLevel.error]))
        self.write(7)
        self.assertEqual([7.0], self.looks(3))

    def test_asked_while_watching(self) -> None:
        """What was read since somebody asked is not read again for being another file."""
        service = self.make()
        self.looks(3)
        self.write(2)
        self.said(service)
        self.assertEqual([], self.looks(5))

    def test_stopped(self) -> None:
        """A service that stops while it looks reads nothing more."""
        held: list[Deferred[Any]] = []

        def hold(function: Any) -> Deferred[Any]:
            held.append(Deferred().addCallback(lambda _: function()))
            return held[-1]

        service = self.make(threads=hold)
        self.clock.advance(1)
        self.write(2)
        held[0].callback(None)
        self.clock.advance(1)
        service.stopService()
        held[1].callback(None)
        self.assertEqual((2, []), (len(held), self.taken))
