# -*- test-case-name: tests.journal.test_requestlog -*-
"""Writes a line for each request that has ended to a file."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from vllmsim.appending import AppendedFile
from vllmsim.interfaces import IRequestObserver
from vllmsim.records import RequestRecord


@implementer(IRequestObserver)
class RequestLog(AppendedFile[RequestRecord]):
    """Appends lines to a file; see :class:`vllmsim.appending.AppendedFile`.

    :param write: makes the line of a record, with its newline; called in any thread.
    """

    def __init__(
        self,
        path: str,
        write: Callable[[RequestRecord], bytes],
        clock: IReactorTime,
        defer_to_thread: Callable[..., Deferred[Any]],
    ) -> None:
        super().__init__("request log", path, lambda records, _: b"".join(map(write, records)), clock, defer_to_thread)

    def ended(self, record: RequestRecord) -> None:
        """Have a request's line written soon."""
        self.add(record)
