"""Spans that are kept instead of being sent."""

from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import Tracer
from twisted.internet.task import Clock

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


class Recording:
    """A tracer whose spans are kept.

    :param sampler: decides which are recorded; OpenTelemetry's own unless said.
    """

    def __init__(self, sampler: Sampler | None = None) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer: Tracer = provider.get_tracer("tests")

    @property
    def spans(self) -> list[ReadableSpan]:
        """What was recorded."""
        return [*self._exporter.get_finished_spans()]


class ThreadedClock(Clock):
    """A clock that takes calls from other threads, and runs them when it is asked to, in its own."""

    def __init__(self) -> None:
        super().__init__()
        self.others: list[tuple[Any, tuple[Any, ...]]] = []

    def callFromThread(self, call: Any, *arguments: Any) -> None:
        """Keep a call."""
        self.others.append((call, arguments))

    def run_calls(self) -> None:
        """Run what was kept."""
        while self.others:
            call, arguments = self.others.pop(0)
            call(*arguments)
