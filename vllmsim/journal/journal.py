# -*- test-case-name: tests.journal.test_journal -*-
"""Remembers requests: all that are under way, and the last of those that have ended.

A request costs little here: a record is made when it comes, and moved to the others when it has ended. Who looks into
the journal pays for it.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import ClassVar, Final

import orjson
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from zope.interface import implementer

from vllmsim.clocks.clocks import Clocks
from vllmsim.config.live import LiveConfiguration
from vllmsim.config.schema import Configuration
from vllmsim.errors import Overloaded
from vllmsim.interfaces import IJournal, IRequestObserver
from vllmsim.records import TRACEPARENT, TRACESTATE, HttpFacts, Outcome, RequestRecord
from vllmsim.turns import Turn

MOST_WAITERS: Final = 64
"""How many may wait for requests to end: each is asked whenever one does."""
_MOST_HEADERS: Final = 64
_MOST_HEADER_BYTES: Final = 8192
_LONGEST_HEADER: Final = 512
_LONGEST_PATH: Final = 1024
_LONGEST_MODEL: Final = 256


def _number_of(record: RequestRecord) -> int:
    return record.number


def _model_in(http: HttpFacts) -> str | None:
    """Find the model in the body of a request that nobody has read, or that is none."""
    if len(http.body) != http.body_bytes:
        return None
    try:
        model = orjson.loads(http.body)["model"]
    except (ValueError, TypeError, LookupError):
        return None
    return model[:_LONGEST_MODEL] if isinstance(model, str) else None


@define(eq=False)
class _Waiter:
    """Somebody who waits until requests have ended.

    :param left: how many are still to end.
    """

    wanted: Callable[[RequestRecord], bool]
    left: int
    done: Deferred[None]
    timer: IDelayedCall


@implementer(IJournal)
@define(eq=False)
class Journal:
    """Remembers the requests of one rank.

    :param rank: its number.
    :param observers: hear of each request that has ended. With one of them requests have records though none are kept.
    :param hints: whether to say once in the log that a request is part of a trace, where nobody traces.
    """

    _log: ClassVar[Logger] = Logger()

    _live: LiveConfiguration
    _rank: int
    _clocks: Clocks
    observers: list[IRequestObserver] = field(factory=list)
    hints: bool = False
    dropped: int = field(init=False, default=0)
    _base: str = field(init=False)
    number: int = field(init=False, default=0)
    _open: set[RequestRecord] = field(init=False, factory=set)
    _ended: deque[RequestRecord] = field(init=False, factory=deque)
    _size: int = field(init=False)
    _body_bytes: int = field(init=False)
    _waiters: dict[_Waiter, None] = field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        self._base = self._live.current.served_names[0]
        self._settle(self._live.current)
        self._live.watch(lambda _, configuration: self._settle(configuration))

    def _settle(self, configuration: Configuration) -> None:
        self._size, self._body_bytes = configuration.journal_size, configuration.journal_body_bytes
        self.dropped += max(0, len(self._ended) - self._size)
        self._ended = deque(self._ended, self._size)

    def begin(self, route: str, http: HttpFacts | None) -> RequestRecord | None:
        """Begin to remember a request; see :class:`vllmsim.interfaces.IJournal`."""
        if self.hints and http is not None and TRACEPARENT in http.headers:
            self.hints = False
            self._log.warn("Received a request with trace context but tracing is disabled")
        self.number += 1
        if not self._size and not self.observers:
            return None
        if http is not None:
            self._shorten(http)
        arrived, now = self._clocks.epoch(), self._clocks.simulated.seconds()
        record = RequestRecord(route, self.number, self._rank, self._base, arrived, now, http)
        self._open.add(record)
        return record

    def _shorten(self, http: HttpFacts) -> None:
        """Leave of a request what is worth its room."""
        http.body = http.body[: self._body_bytes]
        http.path = http.path[:_LONGEST_PATH]
        headers = http.headers
        total = len(b"".join(headers)) + len(b"".join(headers.values()))
        if len(headers) > _MOST_HEADERS or total > _MOST_HEADER_BYTES:
            some = list(headers.items())[:_MOST_HEADERS]
            http.headers = {name[:_LONGEST_HEADER]: value[:_LONGEST_HEADER] for name, value in some}
            for name in (TRACEPARENT, TRACESTATE):
                # A part of one says something else.
                http.headers.pop(name, None)
                if len(value := headers.get(name, b"")) in range(1, _LONGEST_HEADER + 1):
                    http.headers[name] = value

    def end(self, record: RequestRecord, *, gone: bool = False) -> None:
        """Move a request to those that have ended; see :class:`vllmsim.interfaces.IJournal`."""
        self._end(record, "disconnected" if gone else None)

    def _end(self, record: RequestRecord, cause: Outcome | None) -> None:
        if record not in self._open:
            return
        self._open.remove(record)
        if not record.model and record.asked is None and record.http is not None:
            record.asked = _model_in(record.http)
        record.ends(self._clocks.simulated.seconds(), cause)
        for observer in self.observers:
            observer.ended(record)
        if len(self._ended) == self._size:
            self.dropped += 1
        self._ended.append(record)
        for waiter in [*self._waiters]:
            self._tell(waiter, record)

    def records(self) -> list[RequestRecord]:
        """List all; see :class:`vllmsim.interfaces.IJournal`."""
        return sorted((*self._ended, *self._open), key=_number_of)

    def find(self, name: str) -> RequestRecord | None:
        """Find one request; see :class:`vllmsim.interfaces.IJournal`."""
        numbered = None
        for record in reversed(self.records()):
            if record.goes_by(name):
                return record
            if str(record.number) == name:
                numbered = record
        return numbered

    def forget(self) -> int:
        """Forget what has ended; see :class:`vllmsim.interfaces.IJournal`."""
        count = len(self._ended)
        self._ended.clear()
        return count

    def ended(self, wanted: Callable[[RequestRecord], bool], count: int, timeout: float) -> Deferred[None]:
        """Wait for the end of requests; see :class:`vllmsim.interfaces.IJournal`."""
        if len(self._waiters) >= MOST_WAITERS:
            raise Overloaded(f"{MOST_WAITERS} clients wait for requests to end already.")
        done: Deferred[None] = Deferred(lambda _: self._remove(waiter))
        waiter = _Waiter(wanted, count, done, self._clocks.real.callLater(timeout, lambda: self._release(waiter)))
        self._waiters[waiter] = None
        counted = Deferred.fromCoroutine(self._count(waiter, [*self._ended]))
        counted.addErrback(lambda reason: self._log.failure("While counting requests", reason))
        return done

    async def _count(self, waiter: _Waiter, ended: Sequence[RequestRecord]) -> None:
        """Count what had ended when somebody began to wait, letting other events in between."""
        turn = Turn(self._clocks.real)
        for record in ended:
            if waiter not in self._waiters:
                return
            self._tell(waiter, record)
            await turn.step()

    def _tell(self, waiter: _Waiter, record: RequestRecord) -> None:
        if waiter.wanted(record):
            waiter.left -= 1
            if not waiter.left:
                self._release(waiter)

    def _remove(self, waiter: _Waiter) -> None:
        del self._waiters[waiter]
        if waiter.timer.active():
            waiter.timer.cancel()

    def _release(self, waiter: _Waiter) -> None:
        self._remove(waiter)
        waiter.done.callback(None)

    def release(self) -> None:
        """Have nobody wait any more."""
        for waiter in [*self._waiters]:
            self._release(waiter)

    def stop(self) -> None:
        """Come to the end: nobody waits any more, and requests that are under way will not be answered."""
        self.release()
        for record in sorted(self._open, key=_number_of):
            self._end(record, "unfinished")
