"""Where the log goes."""

import io
import os
import signal
import socket
import sys
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

from twisted.application.service import Application, IServiceCollection, Service
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import FileLogObserver, ILogObserver, Logger, LogLevel, capturedLogs
from twisted.python import syslog
from twisted.python.components import Componentized
from twisted.python.log import textFromEventDict
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.config.live import LiveConfiguration
from vllmsim.config.loglevels import parse_levels
from vllmsim.config.schema import Configuration
from vllmsim.logs import destination
from vllmsim.logs.destination import Destination, LoggedServices, NotStarted, is_journal

TWISTD = {"nodaemon": True, "logger": None, "logfile": None, "syslog": False, "prefix": "p"}


class DestinationTests(SynchronousTestCase):
    """What twistd was told."""

    def setUp(self) -> None:
        """Take standard output over."""
        self.out = io.StringIO()
        self.patch(sys, "stdout", self.out)
        # With it twistd's log files turn.
        self.addCleanup(signal.signal, signal.SIGUSR1, signal.getsignal(signal.SIGUSR1))

    def observer(self, log_format: str, *, level: str = "info", environ: Any = (), **words: Any) -> Any:
        """Make an observer."""
        lives = [LiveConfiguration(Configuration(log_level=parse_levels(level)))]
        twistd = {**TWISTD, **words} if words.pop("twistd", True) else {}
        return Destination(twistd, dict(environ), MemoryReactorClock()).observer(log_format, lives)

    def said(self, log_format: str, **facts: Any) -> str:
        """See what is written of an event."""
        observer = self.observer(log_format, **facts)
        Logger("n", observer=observer).info("x")
        if facts.get("logfile"):
            observer._observer._outFile._place._log.close()
        return self.out.getvalue()

    def test_formats(self) -> None:
        """A log that goes to standard output is written as the option says, text if it says nothing."""
        self.assertTrue(self.said("auto").endswith(" [n#info] x\n"))
        self.assertTrue(self.said("journal").endswith("\n<6>[n#info] x\n"))
        self.assertTrue(self.said("json").endswith('"namespace": "n", "message": "x"}\n'))

    def test_level(self) -> None:
        """It has what the levels let through."""
        self.assertEqual("", self.said("text", level="warn"))

    def test_journal(self) -> None:
        """The journal gets its own format unasked, and nobody else does."""
        self.patch(destination, "is_journal", lambda environ: environ["it"])
        self.assertEqual("<6>[n#info] x\n", self.said("auto", environ={"it": True}))
        self.assertNotIn("<6>", self.said("auto", environ={"it": False}).splitlines()[1])
        self.assertNotIn("<6>", self.said("text", environ={"it": True}).splitlines()[2])

    def test_file(self) -> None:
        """With --logfile it goes there, with or without a daemon, as text or as the option says."""
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.patch(destination, "is_journal", lambda _: True)
        for daemon, log_format, start in ((False, "auto", "20"), (True, "auto", "20"), (True, "json", '{"time": ')):
            path = Path(folder.name, f"{daemon}-{log_format}")
            self.assertEqual("", self.said(log_format, nodaemon=not daemon, logfile=str(path)))
            self.assertTrue(path.read_text("utf-8").startswith(start), path)

    def test_no_output(self) -> None:
        """A daemon that is told to log to standard output does not start, as ever."""
        error = self.assertRaises(SystemExit, self.observer, "auto", nodaemon=False, logfile="-")
        self.assertIn("Daemons cannot log to stdout", str(error.code))

    def test_unwritable(self) -> None:
        """A file that cannot be written is a line, and the daemon does not start."""
        error = self.assertRaises(SystemExit, self.observer, "auto", logfile="/dev/null/log")
        self.assertEqual("vllmsim: cannot start: the log /dev/null/log: Not a directory", error.code)

    def test_syslog(self) -> None:
        """With --syslog the system's log has its own format, and ours the levels."""
        sent: list[Any] = []
        self.patch(syslog, "SyslogObserver", lambda _: type("Fake", (), {"emit": staticmethod(sent.append)}))
        with capturedLogs() as events:
            self.assertEqual("", self.said("auto", syslog=True))
            self.assertEqual("", self.said("json", syslog=True, level="error"))
        self.assertEqual(["x"], [textFromEventDict(event) for event in sent])
        self.assertEqual(["log-format has no effect: the system's log has its own."], [e["log_format"] for e in events])

    def test_another(self) -> None:
        """Another observer, or another program, writes the log as it likes; who expects else is told."""
        for facts in ({"logger": FileLogObserver}, {"twistd": False}):
            for log_format, level, count in (("auto", "info", 0), ("json", "info", 1), ("auto", "debug", 1)):
                with capturedLogs() as events:
                    self.assertIs(None, self.observer(log_format, level=level, **facts))
                self.assertEqual([LogLevel.warn] * count, [event["log_level"] for event in events])

    def test_encoding(self) -> None:
        """A terminal that cannot show a character gets it as an escape."""
        with TemporaryFile() as raw, io.TextIOWrapper(raw, "ascii") as terminal:
            self.patch(sys, "stdout", terminal)
            Logger("n", observer=self.observer("text")).info("\u00e4")
            raw.seek(0)
            self.assertTrue(raw.read().endswith(b" \\xe4\n"))


class JournalTests(SynchronousTestCase):
    """Whether it is the journal that reads."""

    def pair(self) -> tuple[int, str]:
        """Make a socket that stands for one of the journal's.

        :return: its descriptor, and its name.
        """
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        facts = os.fstat(ours.fileno())
        return ours.fileno(), f"{facts.st_dev}:{facts.st_ino}"

    def test_journal(self) -> None:
        """It is, if the socket that the environment names is standard output."""
        descriptor, name = self.pair()
        self.patch(destination, "_OUTPUT", descriptor)
        self.assertTrue(is_journal({"JOURNAL_STREAM": name}))
        for environ in ({}, {"JOURNAL_STREAM": ""}, {"JOURNAL_STREAM": "1:2"}, {"JOURNAL_STREAM": f"{name}1"}):
            self.assertFalse(is_journal(environ), environ)

    def test_errors(self) -> None:
        """If the one for errors is named, output goes there too when both lead to the same place."""
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        with socket.socket(socket.AF_UNIX) as journal, socket.socket(socket.AF_UNIX) as other:
            ends: list[socket.socket] = []
            for listener, name in ((journal, "journal"), (journal, "journal"), (other, "other")):
                path = str(Path(folder.name, name))
                if len(ends) != 1:
                    listener.bind(path)
                    listener.listen()
                end = socket.socket(socket.AF_UNIX)
                self.addCleanup(end.close)
                end.connect(path)
                ends.append(end)
            output, errors, elsewhere = (end.fileno() for end in ends)
            facts = os.fstat(errors)
            environ = {"JOURNAL_STREAM": f"{facts.st_dev}:{facts.st_ino}"}
            self.patch(destination, "_ERRORS", errors)
            for descriptor, expected in ((output, True), (elsewhere, False), (self.pair()[0], False), (999, False)):
                self.patch(destination, "_OUTPUT", descriptor)
                self.assertEqual(expected, is_journal(environ))
            with open(os.devnull) as null:  # noqa: PTH123 - no path is wanted
                self.patch(destination, "_OUTPUT", null.fileno())
                self.assertFalse(is_journal(environ))


class ApplicationTests(SynchronousTestCase):
    """The application whose log it is."""

    def test_observer(self) -> None:
        """It has our observer, where there is one, and its own services."""
        ours: Any = self.take
        for observer in (ours, None):
            application: Any = Application("x")
            services = LoggedServices(observer, list)
            services.setServiceParent(application)
            self.assertIs(observer, application.getComponent(ILogObserver, None))
            self.assertEqual([services], list(IServiceCollection(application)))
            self.assertIsInstance(application, Componentized)

    def take(self, event: Any) -> None:
        """Take an event."""

    def test_refused(self) -> None:
        """What ends the program while it starts is something that twistd takes notice of, and ends it as it would."""

        class Refusing(Service):
            def privilegedStartService(self) -> None:
                raise SystemExit("the port is taken")

            startService = privilegedStartService

        services = LoggedServices(None, list)
        Refusing().setServiceParent(services)
        for start in (services.privilegedStartService, services.startService):
            error = self.assertRaises(NotStarted, start)
            self.assertEqual("the port is taken", str(error))
            self.assertIsInstance(error, Exception)
            self.assertIsInstance(error, SystemExit)

    def test_opening(self) -> None:
        """What is to be said first is said before anything starts."""
        order: list[str] = []
        services = LoggedServices(None, lambda: order.append("said"))
        child = Service()
        self.patch(child, "startService", lambda: order.append("started"))
        child.setServiceParent(services)
        services.startService()
        self.assertEqual(["said", "started"], order)
