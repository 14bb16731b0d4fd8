# -*- test-case-name: tests.journal.test_requestlog -*-
"""Appends what happens to a file, off the reactor.

The file is opened anew for each batch of lines, of which there are a few in a second at most, and closed again: so it
can be moved away at any time, as logrotate does, and the next line is in a new one. What cannot be written is kept for
the next attempt, up to a bound.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final, Generic, TypeVar

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

T = TypeVar("T")

INTERVAL: Final = 0.25
"""Seconds that a line waits for others."""
RETRY: Final = 1.0
"""Seconds between an attempt that failed and the next."""
MOST_WAITING: Final = 10_000
"""What may wait to be written."""
OLDER: Final = ".1"
"""What a file that is full has behind its name."""
_MOST_TOGETHER: Final = 1000
"""What is written at a time: some 10 ms of a thread."""
_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
"""A pipe that nobody reads is an error, not something to wait for."""
_MODE: Final = 0o600
"""Who may read a file that is made: what clients say is nobody else's business."""


@frozen
class _Rest:
    """What an attempt has not written.

    :param data: from the beginning of a line on.
    :param written: how many bytes of that are in the file: those of a line that is there in part.
    :param place: in which file, and how long it was then; None for in none.
    """

    data: bytes
    written: int
    place: tuple[int, int, int] | None


def _place(descriptor: int) -> tuple[int, int, int]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino, found.st_size


@frozen(eq=False)
class Frame:
    """What a file has besides its lines, and how long it may become.

    :param head: what it begins with.
    :param tail: what it ends with, where that can be written.
    :param most_bytes: how long it may be; then another takes its place, and it has :data:`OLDER` behind its name.
    """

    head: bytes
    tail: bytes
    most_bytes: int


@define(eq=False)
class AppendedFile(Generic[T]):
    """A file to which lines are appended.

    :param what: what it is, for the log.
    :param path: of the file.
    :param write: makes the lines of what has happened, with their newlines; called in any thread, in order. It is also
        told whether they come to a file of their own.
    :param defer_to_thread: runs a function off the reactor.
    :param frame: what the file has besides; nothing, and no bound, if there is none.
    """

    _log: ClassVar[Logger] = Logger()

    what: str
    path: str
    _write: Callable[[Sequence[T], bool], bytes]
    _clock: IReactorTime
    _defer_to_thread: Callable[..., Deferred[Any]]
    _frame: Frame | None = None
    _most_waiting: int = MOST_WAITING
    _waiting: list[T] = field(init=False, factory=list)
    _rest: _Rest | None = field(init=False, default=None)
    _timer: IDelayedCall | None = field(init=False, default=None)
    _turns: DeferredLock = field(init=False, factory=DeferredLock)
    _stopped: bool = field(init=False, default=False)
    _trouble: bool = field(init=False, default=False)
    _lost: int = field(init=False, default=0)

    def check(self) -> None:
        """Make sure that the file can be written to; one that has a frame begins anew.

        :raises OSError: when it cannot.
        """
        descriptor = os.open(self.path, _FLAGS, _MODE)
        found = os.fstat(descriptor)
        os.close(descriptor)
        if self._frame is not None:
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EINVAL, "it is no regular file")
            if found.st_size:
                os.replace(self.path, self.path + OLDER)  # noqa: PTH105

    def add(self, happened: T) -> None:
        """Have something written soon."""
        if len(self._waiting) >= self._most_waiting:
            self._lost += 1
            return
        self._waiting.append(happened)
        if self._timer is None:
            self._plan(INTERVAL)

    def stop(self) -> Deferred[None]:
        """Write what waits, if that is possible, and the end.

        :return: fires when nothing is written any more.
        """
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return self._take_turn()

    def _plan(self, delay: float) -> None:
        if self._timer is None and not self._stopped:
            self._timer = self._clock.callLater(delay, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._take_turn()

    def _take_turn(self) -> Deferred[None]:
        turn: Deferred[None] = self._turns.run(lambda: Deferred.fromCoroutine(self._flush()))
        return turn.addErrback(lambda reason: self._log.failure("While writing the {what}", reason, what=self.what))

    async def _flush(self) -> None:
        """Write what waits now; what comes meanwhile has its own turn."""
        left = len(self._waiting)
        while left > 0 or self._rest:
            together: Sequence[T] = ()
            if not self._rest:
                together, self._waiting = self._waiting[:_MOST_TOGETHER], self._waiting[_MOST_TOGETHER:]
                left -= len(together)
            self._rest, reason = await self._defer_to_thread(self._append, self._rest, together)
            self._tell(reason)
            if reason is not None:
                self._plan(RETRY)
                return
        if self._stopped and self._frame is not None:
            frame, self._frame = self._frame, None
            await self._defer_to_thread(self._end, self.path, frame)

    def _append(self, rest: _Rest | None, together: Sequence[T]) -> tuple[_Rest | None, str | None]:
        """Append what is left of an earlier attempt, or lines. Called in a thread.

        A line of which a part is written goes on behind it, and begins again where that is no more: who finds the disk
        full empties the file, or moves it away.

        :return: what could not be written, and why.
        """
        if rest is None:
            rest = _Rest(self._write(together, self._is_new()), 0, None)
        data, done, place = rest.data, rest.written, rest.place
        try:
            descriptor = os.open(self.path, _FLAGS, _MODE)
            try:
                found = _place(descriptor)
                if found != place:
                    done = 0
                if self._frame is not None and not found[2]:
                    data = self._frame.head + data
                while done < len(data):
                    done += os.write(descriptor, memoryview(data)[done:])
            finally:
                place = _place(descriptor)
                os.close(descriptor)
        except OSError as error:
            begun = data.rfind(b"\n", 0, done) + 1
            return _Rest(data[begun:], done - begun, place), error.strerror or str(error)
        if self._frame is not None and place[2] >= self._frame.most_bytes:
            self._turn(self._frame)
        return None, None

    def _is_new(self) -> bool:
        """Tell whether what comes next begins a file."""
        with contextlib.suppress(OSError):
            return not os.path.getsize(self.path)  # noqa: PTH202
        return True

    def _end(self, path: str, frame: Frame) -> None:
        """Write the end of a file that is not empty, where that is possible. Called in a thread."""
        with contextlib.suppress(OSError):
            descriptor = os.open(path, _FLAGS & ~os.O_CREAT)
            try:
                if os.fstat(descriptor).st_size:
                    os.write(descriptor, frame.tail)
            finally:
                os.close(descriptor)

    def _turn(self, frame: Frame) -> None:
        """Have what comes next go to another file, where that is possible. Called in a thread."""
        with contextlib.suppress(OSError):
            os.replace(self.path, self.path + OLDER)  # noqa: PTH105
            self._end(self.path + OLDER, frame)

    def _tell(self, reason: str | None) -> None:
        """Say once that lines cannot be written, and once that they are again."""
        if reason is not None and not self._trouble:
            self._trouble = True
            self._log.warn(
                "Cannot write to the {what} {path}: {reason}. Requests go on; up to {count} lines wait for it.",
                what=self.what,
                path=self.path,
                reason=reason,
                count=self._most_waiting,
            )
        elif reason is None and (self._trouble or self._lost):
            self._log.warn(
                "The {what} {path} is written again; {lost} lines are lost.",
                what=self.what,
                path=self.path,
                lost=self._lost,
            )
            self._trouble, self._lost = False, 0
