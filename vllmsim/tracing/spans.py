# -*- test-case-name: tests.tracing.test_spans -*-
"""A span for each request that has ended, as a child of what its client says with ``traceparent``.

A span begins when its request came, and is made when that is over, as vLLM makes it: nothing is done for a request
before its end. The flag by which a client says whether its trace is recorded is respected, unless the environment names
a sampler that does not (``OTEL_TRACES_SAMPLER``).
"""

from collections.abc import Callable, Container
from typing import Final

from attrs import define, field
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer, format_trace_id
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from zope.interface import implementer

from vllmsim.interfaces import IRequestObserver
from vllmsim.records import TRACEPARENT, TRACESTATE, HttpFacts, RequestRecord
from vllmsim.tracing.describing import attributes_of, error_of, events_of, nanoseconds

NAME: Final = "llm_request"
_LONGEST: Final = 512
"""How long a header may be that is gone on with: as much as W3C's recommendation asks for."""
_PROPAGATOR: Final = TraceContextTextMapPropagator()
_NOWHERE: Final = Context()


@implementer(IRequestObserver)
@define(eq=False)
class RequestSpans:
    """Makes the spans of one rank's requests.

    :param tracer: finds what makes spans; None where nothing does any more, or not yet.
    :param routes: tells those on which requests have the model work, and is asked once; others have no spans.
    :param max_model_len: the context window.
    """

    _tracer: Callable[[], Tracer | None]
    _routes: Callable[[], Container[str]]
    _max_model_len: int
    _known: Container[str] | None = field(init=False, default=None)

    def ended(self, record: RequestRecord) -> None:
        """Make the span of a request."""
        tracer = self._tracer()
        if self._known is None:
            self._known = self._routes()
        if tracer is None or record.finished is None or record.route not in self._known:
            return
        begin = nanoseconds(record, record.began)
        span = tracer.start_span(NAME, _caller(record.http), SpanKind.SERVER, start_time=begin)
        context = span.get_span_context()
        if context.is_valid:
            record.span_trace = format_trace_id(context.trace_id)
        if span.is_recording():
            span.set_attributes(attributes_of(record, self._max_model_len))
            for name, time, attributes in events_of(record):
                span.add_event(name, attributes, time)
            if (error := error_of(record)) is not None:
                span.set_status(Status(StatusCode.ERROR, error))
            span.end(nanoseconds(record, record.finished))


def _caller(http: HttpFacts | None) -> Context:
    """Find what a request is a part of. Headers that are wrong say nothing."""
    if http is None or TRACEPARENT not in http.headers:
        return _NOWHERE
    carrier = {}
    for header in (TRACEPARENT, TRACESTATE):
        if len(value := http.headers.get(header, b"")) <= _LONGEST:
            carrier[header.decode()] = value.decode("latin-1")
    return _PROPAGATOR.extract(carrier, _NOWHERE)
