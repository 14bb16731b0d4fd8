# -*- test-case-name: tests.assembly.test_remembering -*-
"""Who remembers the requests of a rank, and who is told of those that have ended."""

from collections.abc import Callable, Container
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from vllmsim.api.records import record_line
from vllmsim.config.live import LiveConfiguration
from vllmsim.interfaces import IRequestObserver
from vllmsim.journal.journal import Journal

if TYPE_CHECKING:
    from vllmsim.journal.requestlog import RequestLog
    from vllmsim.tracing.tracing import Tracing


def make_journal(
    live: LiveConfiguration,
    number: int,
    clock: IReactorTime,
    epoch: Callable[[], float],
    defer_to_thread: Callable[..., Deferred[Any]],
    tracing: "Tracing | None",
    routes: Callable[[], Container[str]],
) -> tuple[Journal, "RequestLog | None"]:
    """Make what remembers requests, and what writes them down, if something does.

    :param number: which rank it is, from 0.
    :param epoch: tells seconds since the epoch.
    :param defer_to_thread: runs a function off the reactor.
    :param tracing: has requests traced, if they are.
    :param routes: tells on which routes requests have the model work; asked when one has ended.
    """
    c = live.current
    observers: list[IRequestObserver] = []
    if tracing is not None:
        observers.append(tracing.spans(number, routes, c.max_model_len))
    log = None
    if c.request_log:
        # Few servers write one.
        from vllmsim.journal.requestlog import RequestLog  # noqa: PLC0415

        log = RequestLog(c.request_log, record_line, clock, defer_to_thread)
        observers.append(log)
    return Journal(live, number, clock, epoch, observers, hints=tracing is None), log
