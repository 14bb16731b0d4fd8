# -*- test-case-name: tests.logs.test_places -*-
"""Where lines of the log can go: a stream such as standard output, which nobody waits for, or a file.

A file is opened anew when another one is at its path, or none: who moves or removes it need tell nobody. Where that is
not allowed, what is written goes on going to the file that was moved.
"""

import fcntl
import os
import select
from contextlib import suppress
from typing import Any, Final, Protocol

from attrs import define, field
from twisted.python.logfile import LogFile

_PIECE: Final = select.PIPE_BUF
"""Bytes that a pipe takes without waiting, if it takes any."""
_UNWAITING: Final = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Place(Protocol):
    """Takes bytes."""

    def settle(self) -> bool:
        """Get ready to take some.

        :return: whether it has nothing of what was written before.
        :raises OSError: when that cannot be.
        """

    def write(self, data: memoryview) -> int:
        """Write what can be written now.

        :return: how many bytes that was, at least 1.
        :raises OSError: when nothing can be; :class:`BlockingIOError` when whoever reads is too slow.
        """


@define(eq=False)
class StreamPlace:
    """A descriptor that may belong to others too, so that it stays as it is: one that waits.

    A terminal is opened once more, as it does not say how much room it has. One that may not be gets byte after byte.
    """

    _descriptor: int
    _poll: Any = field(init=False, factory=select.poll)
    _piece: int = field(init=False, default=_PIECE)
    _own: int | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        """Look whether there is room before each piece."""
        if os.isatty(self._descriptor):
            try:
                self._descriptor = self._own = os.open(f"/proc/self/fd/{self._descriptor}", _UNWAITING)
            except OSError:
                self._piece = 1
        self._poll.register(self._descriptor, select.POLLOUT)

    def settle(self) -> bool:
        """Do nothing."""
        return False

    def write(self, data: memoryview) -> int:
        """Write a piece."""
        if not self._poll.poll(0):
            raise BlockingIOError("nobody reads it")
        return os.write(self._descriptor, data[: self._piece])

    def close(self) -> None:
        """Close what was opened for this."""
        own, self._own = self._own, None
        if own is not None:
            os.close(own)


@define(eq=False)
class FilePlace:
    """A file, with twistd's ways to begin another.

    :param log: the file; nobody else writes to it.
    """

    _log: Any
    _place: tuple[int, int] | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        """Write at the end, wherever that is: some cut files while they are written."""
        self._opened()

    def settle(self) -> bool:
        """Make sure that the file is there, and not too long."""
        log: LogFile = self._log
        if log._file.closed:  # noqa: SLF001 - left so by a rotation that broke off
            log._openFile()  # noqa: SLF001
        elif not self._is_there():
            self._renew()
        log.size = os.fstat(log._file.fileno()).st_size  # noqa: SLF001
        if log.shouldRotate():
            with suppress(OSError):
                log.rotate()
            if log._file.closed:  # noqa: SLF001
                log._openFile()  # noqa: SLF001
        return self._opened() or not log.size

    def write(self, data: memoryview) -> int:
        """Append to the file."""
        return os.write(self._log._file.fileno(), data)  # noqa: SLF001

    def _opened(self) -> bool:
        """Take note of which file it is.

        :return: whether it is another than before.
        """
        descriptor = self._log._file.fileno()  # noqa: SLF001
        facts = os.fstat(descriptor)
        before, self._place = self._place, (facts.st_dev, facts.st_ino)
        if before == self._place:
            return False
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_APPEND)
        return True

    def _is_there(self) -> bool:
        try:
            facts = os.stat(self._log.path)  # noqa: PTH116 - for every line
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return (facts.st_dev, facts.st_ino) == self._place

    def _renew(self) -> None:
        before = self._log._file  # noqa: SLF001
        try:
            self._log._openFile()  # noqa: SLF001
        except OSError:
            if not os.fstat(before.fileno()).st_nlink:
                raise
        else:
            before.close()
