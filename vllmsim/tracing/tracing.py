# -*- test-case-name: tests.tracing.test_tracing -*-
"""Has the requests of a process traced: what makes spans, from the start of its ranks to their end.

Its threads begin with it, after the process has become a daemon, and each process of several has its own.
"""

import os
from collections.abc import Callable, Container, Mapping
from threading import Thread
from typing import Any, ClassVar, Final

from attrs import define, field
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.trace import Tracer
from twisted.internet.defer import Deferred, succeed
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from vllmsim.tracing.collector import Destination, TracingError
from vllmsim.tracing.exporting import (
    SCOPE,
    BoundedProcessor,
    CountedExporter,
    make_exporter,
    make_provider,
    make_resource,
    queue_room,
)
from vllmsim.tracing.spans import RequestSpans
from vllmsim.tracing.trouble import Complaints, Trouble, secret_headers

PATIENCE: Final = 2.0
"""Seconds that a server which stops waits for the last spans to get to their collector."""


def _in_own_thread(work: Callable[[], None]) -> None:
    # Not one of the reactor's: it waits at its end for those, however long they take.
    Thread(target=work, name="tracing", daemon=True).start()


@define(eq=False)
class Tracing:
    """Traces the requests of the ranks of this process.

    :param attributes: of the resource that spans are told to come from.
    :param reactor: provides time, and takes calls from other threads.
    :param make: makes what speaks with the collector.
    :param in_thread: does some work, however long it takes.
    """

    _log: ClassVar[Logger] = Logger()

    _destination: Destination
    _attributes: Mapping[str, str]
    _reactor: Any
    _make: Callable[[Destination], SpanExporter] = make_exporter
    _in_thread: Callable[[Callable[[], None]], None] = _in_own_thread
    _environ: Mapping[str, str] = field(factory=lambda: os.environ)
    _ranks: list[int] = field(init=False, factory=list)
    _tracer: Tracer | None = field(init=False, default=None)
    _provider: TracerProvider | None = field(init=False, default=None)
    _processor: BoundedProcessor | None = field(init=False, default=None)
    _trouble: Trouble = field(init=False)
    _complaints: Complaints = field(init=False)

    @_trouble.default
    def _make_trouble(self) -> Trouble:
        return Trouble(self._destination.place, self._reactor)

    @_complaints.default
    def _make_complaints(self) -> Complaints:
        return Complaints(
            lambda reason: self._reactor.callFromThread(self._trouble.heard, reason), secret_headers(self._environ)
        )

    def spans(self, rank: int, routes: Callable[[], Container[str]], max_model_len: int) -> RequestSpans:
        """Make what makes spans of a rank's requests, once this has started.

        :param rank: its number.
        :param routes: tells those on which requests have the model work.
        """
        self._ranks.append(rank)
        return RequestSpans(lambda: self._tracer, routes, max_model_len)

    def start(self) -> None:
        """Begin to trace.

        :raises TracingError: when that is not possible as the environment has it.
        """
        attributes = dict(self._attributes)
        if len(self._ranks) == 1:
            attributes["vllmsim.rank"] = str(self._ranks[0])
        self._complaints.begin()
        try:
            exporter = CountedExporter(self._make(self._destination), self._exported)
            processor = BoundedProcessor(exporter, queue_room(self._environ), self._trouble.dropped)
            provider = make_provider(make_resource(attributes), processor)
        except (ValueError, OSError, ImportError) as error:
            self._complaints.end()
            raise TracingError(error) from error
        self._processor, self._provider = processor, provider
        self._tracer = provider.get_tracer(SCOPE)
        self._log.info(
            "Traces go to {place} by {protocol}", place=self._destination.place, protocol=self._destination.protocol
        )

    def _exported(self, lost: int) -> None:
        self._reactor.callFromThread(self._trouble.exported, lost)

    def stop(self) -> Deferred[None]:
        """Send what waits, if that is possible.

        :return: fires when it is done, or after :data:`PATIENCE` seconds.
        """
        provider, self._tracer, self._provider = self._provider, None, None
        if provider is None:
            return succeed(None)
        done: Deferred[None] = Deferred()

        def tell() -> None:
            if not done.called:
                done.callback(None)

        def shut_down() -> None:
            try:
                provider.shutdown()
            finally:
                self._reactor.callFromThread(tell)

        self._in_thread(shut_down)
        return done.addTimeout(PATIENCE, self._reactor).addErrback(self._give_up).addCallback(self._end)

    def _give_up(self, reason: Failure) -> None:
        reason.trap(DeferredTimeoutError)
        if self._processor is not None:
            self._trouble.exported(self._processor.unsettled)

    def _end(self, _: None) -> None:
        self._trouble.stop()
        self._complaints.end()
