# -*- test-case-name: tests.scheduling.test_openrequests -*-
"""The requests that are in, so that a rank can wait for their end, or bring it about."""

from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.python.failure import Failure

from vllmsim.errors import Unavailable

T = TypeVar("T")


@define(eq=False)
class OpenRequests:
    """Knows the requests that are being served."""

    _open: dict[Deferred[Any], None] = field(init=False, factory=dict)
    """In the order in which they came, which is also that in which they are dismissed."""
    _emptied: list[Deferred[None]] = field(init=False, factory=list)
    _dismissed: bool = field(init=False, default=False)

    def __len__(self) -> int:
        return len(self._open)

    def add(self, served: Deferred[T]) -> Deferred[T]:
        """Remember a request until its end.

        :param served: fires at its end.
        :return: the same; when the request is dismissed it fails with :class:`vllmsim.errors.Unavailable`.
        """
        self._open[served] = None
        return served.addBoth(self._close, served)

    def drain(self) -> Deferred[None]:
        """Wait for the requests that are in.

        :return: fires when there are none, at once if there are none now.
        """
        if not self._open:
            return succeed(None)
        self._emptied.append(Deferred())
        return self._emptied[-1]

    def dismiss(self) -> None:
        """End every request that is in, and tell its client that the server stops."""
        self._dismissed = True
        for served in list(self._open):
            served.cancel()

    def _close(self, result: Any, served: Deferred[Any]) -> Any:
        self._open.pop(served, None)
        if not self._open:
            waiting, self._emptied = self._emptied, []
            for each in waiting:
                each.callback(None)
        if self._dismissed and isinstance(result, Failure) and result.check(CancelledError):
            return Failure(Unavailable("The server is shutting down."))
        return result
