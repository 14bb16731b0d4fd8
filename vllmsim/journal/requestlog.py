# -*- test-case-name: tests.journal.test_requestlog -*-
"""Writes a line for each request that has ended to a file, off the reactor.

The file is opened anew for each batch of lines, of which there are a few in a second at most, and closed again: so it
can be moved away at any time, as logrotate does, and the next line is in a new one. What cannot be written is kept for
the next attempt, up to a bound.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from vllmsim.interfaces import IRequestObserver
from vllmsim.records import RequestRecord

INTERVAL: Final = 0.25
"""Seconds that a line waits for others."""
RETRY: Final = 1.0
"""Seconds between an attempt that failed and the next."""
MOST_WAITING: Final = 10_000
"""Lines that may wait to be written."""
_MOST_TOGETHER: Final = 1000
"""Lines that are written at a time: some 10 ms of a thread."""
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


@implementer(IRequestObserver)
@define(eq=False)
class RequestLog:
    """Appends lines to a file.

    :param path: of the file.
    :param write: makes the line of a record, with its newline; called in any thread.
    :param defer_to_thread: runs a function off the reactor.
    """

    _log: ClassVar[Logger] = Logger()

    path: str
    _write: Callable[[RequestRecord], bytes]
    _clock: IReactorTime
    _defer_to_thread: Callable[..., Deferred[Any]]
    _waiting: list[RequestRecord] = field(init=False, factory=list)
    _rest: _Rest | None = field(init=False, default=None)
    _timer: IDelayedCall | None = field(init=False, default=None)
    _turns: DeferredLock = field(init=False, factory=DeferredLock)
    _stopped: bool = field(init=False, default=False)
    _trouble: bool = field(init=False, default=False)
    _lost: int = field(init=False, default=0)

    def check(self) -> None:
        """Make sure that the file can be written to.

        :raises OSError: when it cannot.
        """
        os.close(os.open(self.path, _FLAGS, _MODE))

    def ended(self, record: RequestRecord) -> None:
        """Have a request's line written soon."""
        if len(self._waiting) >= MOST_WAITING:
            self._lost += 1
            return
        self._waiting.append(record)
        self._plan(INTERVAL)

    def stop(self) -> Deferred[None]:
        """Write what waits, if that is possible.

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
        return turn.addErrback(lambda reason: self._log.failure("While writing the request log", reason))

    async def _flush(self) -> None:
        """Write what waits now; what comes meanwhile has its own turn."""
        left = len(self._waiting)
        while left > 0 or self._rest:
            records: Sequence[RequestRecord] = ()
            if not self._rest:
                records, self._waiting = self._waiting[:_MOST_TOGETHER], self._waiting[_MOST_TOGETHER:]
                left -= len(records)
            self._rest, reason = await self._defer_to_thread(self._append, self._rest, records)
            self._tell(reason)
            if reason is not None:
                self._plan(RETRY)
                return

    def _append(self, rest: _Rest | None, records: Sequence[RequestRecord]) -> tuple[_Rest | None, str | None]:
        """Append what is left of an earlier attempt, or lines. Called in a thread.

        A line of which a part is written goes on behind it, and begins again where that is no more: who finds the disk
        full empties the file, or moves it away.

        :return: what could not be written, and why.
        """
        if rest is None:
            rest = _Rest(b"".join(map(self._write, records)), 0, None)
        data, done, place = rest.data, rest.written, rest.place
        try:
            descriptor = os.open(self.path, _FLAGS, _MODE)
            try:
                if _place(descriptor) != place:
                    done = 0
                while done < len(data):
                    done += os.write(descriptor, memoryview(data)[done:])
            finally:
                place = _place(descriptor)
                os.close(descriptor)
        except OSError as error:
            begun = data.rfind(b"\n", 0, done) + 1
            return _Rest(data[begun:], done - begun, place), error.strerror or str(error)
        return None, None

    def _tell(self, reason: str | None) -> None:
        """Say once that lines cannot be written, and once that they are again."""
        if reason is not None and not self._trouble:
            self._trouble = True
            self._log.warn(
                "Cannot write to the request log {path}: {reason}. Requests go on; up to {count} lines wait for it.",
                path=self.path,
                reason=reason,
                count=MOST_WAITING,
            )
        elif reason is None and (self._trouble or self._lost):
            self._log.warn(
                "The request log {path} is written again; {lost} lines are lost.", path=self.path, lost=self._lost
            )
            self._trouble, self._lost = False, 0
