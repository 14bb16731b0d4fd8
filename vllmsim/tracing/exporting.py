# -*- test-case-name: tests.tracing.test_exporting -*-
"""What takes spans to a collector, in a thread: OpenTelemetry's own batching and exporters, counted.

Spans wait in a queue of ``OTEL_BSP_MAX_QUEUE_SIZE`` (2048), and those beyond it are dropped and counted; so are those
that a collector does not take. The other variables of OpenTelemetry's mean what they mean everywhere: those that begin
with ``OTEL_BSP_``, ``OTEL_EXPORTER_OTLP_`` (headers, certificates, timeout, compression), ``OTEL_TRACES_SAMPLER``,
``OTEL_RESOURCE_ATTRIBUTES`` and ``OTEL_SERVICE_NAME``.
"""

import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from attrs import define, field
from opentelemetry.sdk.environment_variables import OTEL_BSP_MAX_EXPORT_BATCH_SIZE, OTEL_BSP_MAX_QUEUE_SIZE
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from vllmsim.tracing.collector import Destination

SCOPE: Final = "vllm.llm_engine"
"""What vLLM calls what makes the spans of requests."""
_QUEUE: Final = 2048
_BATCH: Final = 512
_PROVIDER: Final = "OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER"
_LONGEST_ANSWER: Final = 1 << 16
"""Bytes of an answer that are read; a collector says a few."""


def make_exporter(destination: Destination) -> SpanExporter:
    """Make what speaks with a collector. It connects when it has something to say."""
    if destination.protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc  # noqa: PLC0415 - either is there

        # As vLLM has it: TLS for https alone.
        return grpc.OTLPSpanExporter(destination.url, insecure=True)
    from opentelemetry.exporter.otlp.proto.http import trace_exporter as http  # noqa: PLC0415 - likewise

    # Who provides a session of its own knows what it does.
    session = None if os.environ.get(_PROVIDER) else short_session()
    return http.OTLPSpanExporter(destination.url, session=session)


def short_session() -> Any:
    """Make what sends requests over HTTP, and keeps nothing of a long answer: of that its status alone matters."""
    import requests  # noqa: PLC0415 - it comes with the exporter

    session = requests.Session()
    session.stream = True
    session.hooks["response"].append(_shorten)
    return session


def _shorten(response: Any, *_: object, **__: object) -> None:
    length = response.headers.get("Content-Length", "")
    if not length.isdecimal() or int(length) > _LONGEST_ANSWER:
        response._content = b""  # noqa: SLF001 - else it is read, however long it is
        response.close()
    else:
        # The connection is free for the next once this is read.
        response.content  # noqa: B018


@define(eq=False)
class CountedExporter(SpanExporter):
    """Counts what another exporter is given, and tells what becomes of it. Called in the thread that exports.

    :param told: hears how many spans were not taken; 0 if all were.
    """

    _exporter: SpanExporter
    _told: Callable[[int], None]
    given: int = field(init=False, default=0)
    settled: int = field(init=False, default=0)
    """Of how many spans it is known what became of them."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export some spans; see the base class."""
        self.given += len(spans)
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            self.settled += len(spans)
            self._told(0 if result is SpanExportResult.SUCCESS else len(spans))
        return result

    def shutdown(self) -> None:
        """Export nothing more."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Wait for what is under way."""
        return self._exporter.force_flush(timeout_millis)


class BoundedProcessor(BatchSpanProcessor):
    """Queues spans for an exporter, and counts those that find the queue full.

    :param told: hears of each of them.
    """

    def __init__(self, exporter: CountedExporter, room: int, told: Callable[[int], None]) -> None:
        # Unless the environment says otherwise, no more are sent at once than may wait.
        batch = None if os.environ.get(OTEL_BSP_MAX_EXPORT_BATCH_SIZE) else min(_BATCH, room)
        super().__init__(exporter, max_queue_size=room, max_export_batch_size=batch)
        self._counted = exporter
        self._room = room
        self._told = told
        self._taken = 0

    @property
    def waiting(self) -> int:
        """How many spans are not given to the exporter yet."""
        return self._taken - self._counted.given

    @property
    def unsettled(self) -> int:
        """Of how many spans it is not known yet whether the collector takes them."""
        return self._taken - self._counted.settled

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span."""
        if span.context is None or not span.context.trace_flags.sampled:
            return
        if self.waiting >= self._room:
            self._told(1)
            return
        self._taken += 1
        super().on_end(span)


def queue_room(environ: Mapping[str, str]) -> int:
    """Find how many spans may wait.

    :raises ValueError: when the environment says no number.
    """
    text = environ.get(OTEL_BSP_MAX_QUEUE_SIZE) or str(_QUEUE)
    if not text.isdecimal() or not int(text):
        raise ValueError(f"{OTEL_BSP_MAX_QUEUE_SIZE} is {text!r}, and must be a number above 0")
    return int(text)


def make_resource(attributes: Mapping[str, str]) -> Resource:
    """Say whose spans these are: as vLLM does, and more. What the environment says goes first.

    :param attributes: of the server.
    """
    own = {
        "vllm.instrumenting_module_name": SCOPE,
        "vllm.process_id": str(os.getpid()),
        "service.instance.id": str(uuid.uuid4()),
    }
    return Resource({**own, **attributes}).merge(Resource.create())


def make_provider(resource: Resource, processor: BoundedProcessor) -> TracerProvider:
    """Make what makes tracers, which is nobody else's: the process has no provider that all use."""
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(processor)
    return provider
