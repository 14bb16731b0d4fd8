# -*- test-case-name: tests.assembly.test_remembering -*-
"""Who remembers the requests of a rank, is told of those that have ended, or writes down what the engine does."""

from collections.abc import Callable, Container
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred

from vllmsim.api.records import record_line
from vllmsim.clocks.clocks import Clocks
from vllmsim.config.live import LiveConfiguration
from vllmsim.config.schema import Configuration
from vllmsim.interfaces import IRequestObserver
from vllmsim.journal.journal import Journal
from vllmsim.scheduling.pacing import TokenPacer

if TYPE_CHECKING:
    from vllmsim.enginetrace import EngineTrace
    from vllmsim.journal.requestlog import RequestLog
    from vllmsim.tracing.tracing import Tracing

_DAY: Final = 86400
"""Seconds of one."""


def make_journal(
    live: LiveConfiguration,
    number: int,
    clocks: Clocks,
    defer_to_thread: Callable[..., Deferred[Any]],
    tracing: "Tracing | None",
    routes: Callable[[], Container[str]],
) -> tuple[Journal, "RequestLog | None"]:
    """Make what remembers requests, and what writes them down, if something does.

    :param number: which rank it is, from 0.
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

        log = RequestLog(c.request_log, record_line, clocks.real, defer_to_thread)
        observers.append(log)
    return Journal(live, number, clocks, observers, hints=tracing is None), log


def make_trace(
    configuration: Configuration,
    number: int,
    clocks: Clocks,
    defer_to_thread: Callable[..., Deferred[Any]],
    blocks: Callable[[], tuple[int, int]],
    pacer: TokenPacer,
) -> "EngineTrace | None":
    """Make what writes down what the engine does, if that is wanted.

    :param number: which rank it is, from 0.
    :param defer_to_thread: runs a function off the reactor.
    :param blocks: tells how many KV blocks are in use, and how many can be found.
    :param pacer: tells when that may have changed.
    """
    c = configuration
    if not c.engine_trace:
        return None
    # Few servers write one.
    from vllmsim.enginetrace import make_engine_trace  # noqa: PLC0415

    trace = make_engine_trace(
        c.engine_trace.replace("{rank}", str(number)),
        c.engine_trace_size,
        number,
        f"{c.served_names[0]} rank {number}",
        clocks.epoch() % _DAY - clocks.simulated.seconds(),
        blocks,
        clocks.real,
        defer_to_thread,
    )
    pacer.watch(lambda: trace.look(clocks.simulated.seconds()))
    return trace
