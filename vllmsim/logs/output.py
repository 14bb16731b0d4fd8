# -*- test-case-name: tests.logs.test_output -*-
"""Writes the log, and has nobody wait for that.

A disk may be full, a file may be gone, and whoever reads a pipe may sleep or have left: requests go on. What cannot be
written now waits, up to a bound, and is tried again; what is beyond that is lost. That is said once where it can still
be said, on standard error, and once in the log when it is written again, with how much is missing.
"""

import time
from collections import deque
from collections.abc import Callable
from contextlib import closing, suppress
from threading import RLock
from typing import Any, ClassVar, Final

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from vllmsim.logs.places import Place, StreamPlace

MOST_WAITING: Final = 16 << 20
"""Bytes that may wait to be written: some of the longest events that there are."""
RETRY: Final = 0.01
"""Seconds between an attempt that failed and the next, if nothing is said meanwhile; later twice as many each time."""
LONGEST_RETRY: Final = 0.64
"""The most of them."""
CLOSING: Final = 1.0
"""Seconds that the end of the program waits for whoever reads to read something."""
_LAST_RETRY: Final = 0.01
_ERRORS: Final = 2


def tell_errors(text: str, descriptor: int = _ERRORS) -> None:
    """Write to standard error, unless somebody would have to wait for that."""
    with suppress(OSError), closing(StreamPlace(descriptor)) as place:
        place.write(memoryview(text.encode()))


@define(eq=False)
class Output:
    """What an observer writes to, in any thread.

    :param place: where it goes.
    :param clock: the reactor, which tries again.
    :param errors: where trouble is told.
    :param encoding: how texts become bytes; what it has no bytes for is written as an escape.
    """

    _log: ClassVar[Logger] = Logger()

    _place: Place
    _clock: Any
    _errors: Callable[[str], object] = tell_errors
    _encoding: str = "utf-8"
    _waiting: deque[bytes] = field(init=False, factory=deque)
    _size: int = field(init=False, default=0)
    _begun: int = field(init=False, default=0)
    _lock: Any = field(init=False, factory=RLock)
    _timer: IDelayedCall | None = field(init=False, default=None)
    _delay: float = field(init=False, default=RETRY)
    _trouble: str = field(init=False, default="")
    _told: bool = field(init=False, default=False)
    _lost: int = field(init=False, default=0)

    def write(self, text: str) -> None:
        """Take an event, with the end of its last line."""
        data = text.encode(self._encoding, "backslashreplace")
        with self._lock:
            if self._size + len(data) > MOST_WAITING and self._waiting:
                self._lost += 1
                self._tell()
                return
            self._waiting.append(data)
            self._size += len(data)

    def flush(self) -> None:
        """Write what can be written."""
        with self._lock:
            try:
                self._write()
            except OSError as error:
                self._fail(error)
                return
            if not self._told:
                self._trouble = ""
                return
            lost, trouble, self._lost, self._trouble, self._told = self._lost, self._trouble, 0, "", False
        self._log.warn("The log is written again ({reason}); {lost} events are lost.", reason=trouble, lost=lost)

    def close(self) -> None:
        """Write what waits, if that is possible soon. To be called when the program ends."""
        begin, left = time.monotonic(), (0, 0)
        with self._lock:
            while True:
                try:
                    self._write()
                except BlockingIOError:
                    left, before = (len(self._waiting), self._begun), left
                    if left != before:
                        begin = time.monotonic()
                    elif time.monotonic() - begin > CLOSING:
                        return
                    time.sleep(_LAST_RETRY)
                except OSError:
                    return
                else:
                    return

    def _write(self) -> None:
        if self._waiting and self._place.settle():
            self._begun = 0
        while self._waiting:
            data = memoryview(self._waiting[0])
            while self._begun < len(data):
                self._begun += self._place.write(data[self._begun :])
                self._delay = RETRY
            self._waiting.popleft()
            self._size -= len(data)
            self._begun = 0

    def _fail(self, error: OSError) -> None:
        if not self._trouble:
            self._clock.callFromThread(self._plan)
        self._trouble = error.strerror or str(error)
        # Who is slow for a moment is no trouble.
        if not isinstance(error, BlockingIOError):
            self._tell()

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            self._errors(f"vllmsim: the log cannot be written: {self._trouble}. Requests go on.\n")

    def _plan(self) -> None:
        if self._timer is None:
            self._timer = self._clock.callLater(self._delay, self._again)
            self._delay = min(2 * self._delay, LONGEST_RETRY)

    def _again(self) -> None:
        self._timer = None
        self.flush()
        if self._trouble:
            self._plan()
