# -*- test-case-name: tests.logs.test_destination -*-
"""Where the log of the daemon goes, as the command line of twistd says, and in which format.

twistd asks an application for its observer before it makes one of its own, unless ``--logger`` names one. Ours writes
to where twistd's would: to standard output, to ``--logfile``, or to the system's log with ``--syslog``; and nobody
waits for it: see :mod:`vllmsim.logs.output`.
"""

import atexit
import io
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Final

from twisted.application.service import MultiService
from twisted.logger import FileLogObserver, ILogObserver, LegacyLogObserverWrapper, Logger
from twisted.python.components import Componentized
from twisted.python.logfile import LogFile

from vllmsim.config.live import LiveConfiguration
from vllmsim.config.loglevels import LogLevels
from vllmsim.logs.formats import FORMATS
from vllmsim.logs.levels import LevelGate
from vllmsim.logs.output import Output
from vllmsim.logs.places import FilePlace, StreamPlace

_OUTPUT: Final = 1
_ERRORS: Final = 2


class NotStarted(SystemExit, Exception):
    """Ends the program as what it is made of would. twistd, in the background, knows only exceptions of this kind.

    It would leave its file with the number of the process, and have the terminal wait for ever.
    """


class LoggedServices(MultiService):
    """Services of an application whose log is written as they say.

    :param observer: takes the application's events; None to leave that to twistd.
    :param opening: is called when they start, when nothing is lost any more of what is logged.
    """

    def __init__(self, observer: ILogObserver | None, opening: Callable[[], object]) -> None:
        super().__init__()
        self._observer = observer
        self._opening = opening

    def setServiceParent(self, parent: Any) -> None:
        """Belong to an application."""
        if self._observer is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._observer)
        super().setServiceParent(parent)

    def privilegedStartService(self) -> None:
        """Have all do first what may need more rights.

        :raises NotStarted: when one ends the program.
        """
        try:
            super().privilegedStartService()
        except SystemExit as error:
            raise NotStarted(error.code) from error

    def startService(self) -> None:
        """Start all.

        :raises NotStarted: when one ends the program.
        """
        self._opening()
        try:
            super().startService()
        except SystemExit as error:
            raise NotStarted(error.code) from error


class Destination:
    """Finds the observer.

    :param words: what the command line of twistd says; empty where another program than twistd has read ours.
    :param environ: the environment.
    :param clock: the reactor.
    """

    _log: ClassVar[Logger] = Logger()

    def __init__(self, words: Mapping[str, Any], environ: Mapping[str, str], clock: Any) -> None:
        self._words = words
        self._environ = environ
        self._clock = clock

    def observer(self, log_format: str, lives: Iterable[LiveConfiguration]) -> ILogObserver | None:
        """Make the observer.

        :param log_format: the option.
        :param lives: the configurations of the ranks, which say what levels are wanted.
        :return: None where another one has been chosen.
        :raises SystemExit: when it cannot be.
        """
        lives = list(lives)
        if "nodaemon" not in self._words or self._words["logger"] is not None:
            if log_format != "auto" or any(live.current.log_level != LogLevels() for live in lives):
                self._log.warn(
                    "log-format and log-level have no effect: another program, or twistd's --logger, writes the log."
                )
            return None
        # It comes with twistd, and knows files that turn, --syslog, and what a daemon cannot do.
        from twisted.scripts._twistd_unix import UnixAppLogger  # noqa: PLC0415 - see above

        try:
            observer: Any = UnixAppLogger(self._words)._getLogObserver()  # noqa: SLF001
        except OSError as error:
            where = self._words["logfile"] or "twistd.log"
            raise SystemExit(f"vllmsim: cannot start: the log {where}: {error.strerror}") from error
        if isinstance(observer, FileLogObserver):
            output = output_of(observer._outFile, self._clock)  # noqa: SLF001
            observer = FileLogObserver(output, FORMATS[self._settle(log_format)])
        else:
            observer = LegacyLogObserverWrapper(observer)
            if log_format != "auto":
                self._log.warn("log-format has no effect: the system's log has its own.")
        return LevelGate(observer, lives)

    def _settle(self, log_format: str) -> str:
        """Find the format that "auto" stands for."""
        if log_format != "auto":
            return log_format
        to_file = self._words["logfile"] not in {None, "", "-"}
        return "journal" if not to_file and self._words["nodaemon"] and is_journal(self._environ) else "text"


def is_journal(environ: Mapping[str, str]) -> bool:
    """Tell whether standard output goes to systemd's journal.

    The journal says which socket is its own, by device and inode. Of two, one for output and one for errors, it names
    the latter; then output goes there too if both lead to the same place.
    """
    named = environ.get("JOURNAL_STREAM", "")
    return _is(named, _OUTPUT) or (_is(named, _ERRORS) and _peer(_OUTPUT) == _peer(_ERRORS) != "")


def _is(named: str, descriptor: int) -> bool:
    try:
        facts = os.fstat(descriptor)
    except OSError:
        return False
    return named == f"{facts.st_dev}:{facts.st_ino}"


def _peer(descriptor: int) -> str:
    """Find the path of the socket at the other end; empty if there is none."""
    try:
        with socket.socket(fileno=os.dup(descriptor)) as copy:
            peer = copy.getpeername()
    except OSError:
        return ""
    return peer if isinstance(peer, str) else ""


def output_of(file: Any, clock: Any) -> Any:
    """Make what writes to a file and waits for nobody.

    :param file: a log file of Twisted's, or a stream.
    :param clock: the reactor.
    :return: `file` itself if it is nowhere that can be waited for.
    """
    if isinstance(file, LogFile):
        output = Output(FilePlace(file), clock)
    else:
        try:
            file.flush()
            output = Output(StreamPlace(file.fileno()), clock, encoding=file.encoding)
        except (io.UnsupportedOperation, AttributeError):
            return file
    atexit.register(output.close)
    return output
