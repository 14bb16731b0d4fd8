"""What takes spans to a collector."""

import os
import uuid
from collections.abc import Callable, Sequence
from threading import Event
from typing import Any, Final
from unittest.mock import patch

from opentelemetry.exporter.otlp.proto.grpc import exporter as grpc_exporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from twisted.trial.unittest import SynchronousTestCase

from tests.faults.neighbour import Neighbour, answering, endless
from vllmsim.tracing.collector import choose
from vllmsim.tracing.exporting import (
    BoundedProcessor,
    CountedExporter,
    make_exporter,
    make_provider,
    make_resource,
    queue_room,
    short_session,
)

NAME: Final = "OTEL_BSP_MAX_QUEUE_SIZE"


class ScriptedExporter(SpanExporter):
    """Does with each batch what a test says, after the test says so.

    :param result: what comes of each batch; an exception is raised.
    """

    def __init__(self, result: SpanExportResult | Exception = SpanExportResult.SUCCESS) -> None:
        self.result = result
        self.begun, self.go = Event(), Event()
        self.batches: list[int] = []
        self.closed = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take some spans."""
        self.begun.set()
        self.go.wait(10)
        self.batches.append(len(spans))
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def shutdown(self) -> None:
        """Take no more."""
        self.closed = True

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Say that nothing is under way."""
        return True


class CountedExporterTests(SynchronousTestCase):
    """What is counted."""

    def export(self, result: SpanExportResult | Exception) -> list[int]:
        """Export three spans, and list what was told to be lost."""
        told: list[int] = []
        inner = ScriptedExporter(result)
        inner.go.set()
        exporter = CountedExporter(inner, told.append)
        spans: Any = [None] * 3
        if isinstance(result, Exception):
            self.assertRaises(type(result), exporter.export, spans)
        else:
            self.assertIs(result, exporter.export(spans))
        self.assertEqual((3, 3), (exporter.given, exporter.settled))
        self.assertTrue(exporter.force_flush())
        exporter.shutdown()
        self.assertTrue(inner.closed)
        return told

    def test_results(self) -> None:
        """Spans that are refused, or that an error keeps from going, are lost; others are not."""
        self.assertEqual([0], self.export(SpanExportResult.SUCCESS))
        self.assertEqual([3], self.export(SpanExportResult.FAILURE))
        self.assertEqual([3], self.export(OSError("no")))


class ProcessorTests(SynchronousTestCase):
    """The queue."""

    def test_bound(self) -> None:
        """No more spans wait than there is room for; each that finds none is counted, and the others all get there."""
        self.enterContext(patch.dict(os.environ, {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4"}))
        dropped: list[int] = []
        inner = ScriptedExporter()
        processor = BoundedProcessor(CountedExporter(inner, lambda _: None), 10, dropped.append)
        provider = make_provider(make_resource({}), processor)
        tracer = provider.get_tracer("tests")
        for _ in range(4):
            tracer.start_span("a").end()
        self.assertTrue(inner.begun.wait(10))
        for _ in range(25):
            tracer.start_span("a").end()
        self.assertEqual((10, 14, 15), (processor.waiting, processor.unsettled, len(dropped)))
        inner.go.set()
        provider.shutdown()
        self.assertEqual((14, 0), (sum(inner.batches), processor.unsettled))
        self.assertTrue(inner.closed)

    def test_room(self) -> None:
        """The environment may say how many spans wait; what is no number there is told."""
        self.assertEqual((2048, 2048, 7), tuple(map(queue_room, ({}, {NAME: ""}, {NAME: "7"}))))
        for text in ("0", "-1", "many", "1.5"):
            with self.assertRaisesRegex(ValueError, f"{NAME} is '{text}', and must be a number above 0"):
                queue_room({NAME: text})


class ResourceTests(SynchronousTestCase):
    """Whose spans they are."""

    def test_attributes(self) -> None:
        """A server says who it is as vLLM does, and more."""
        found = make_resource({"k8s.pod.name": "pod-1"}).attributes
        self.assertEqual(("vllm.llm_engine", "pod-1"), (found["vllm.instrumenting_module_name"], found["k8s.pod.name"]))
        self.assertEqual(str(os.getpid()), found["vllm.process_id"])
        self.assertTrue(str(found["service.name"]).startswith("unknown_service"))
        self.assertEqual(4, uuid.UUID(str(found["service.instance.id"])).version)

    def test_environment(self) -> None:
        """What the environment says goes first."""
        said = "service.instance.id=me,k8s.pod.name=other,zone=a"
        self.enterContext(patch.dict(os.environ, {"OTEL_SERVICE_NAME": "vllm", "OTEL_RESOURCE_ATTRIBUTES": said}))
        found = make_resource({"k8s.pod.name": "pod-1"}).attributes
        names = ("service.name", "service.instance.id", "k8s.pod.name", "zone")
        self.assertEqual(("vllm", "me", "other", "a"), tuple(found[name] for name in names))


class ExporterTests(SynchronousTestCase):
    """Who speaks with the collector."""

    def test_long_answers(self) -> None:
        """Of an answer that is long, or does not say how long it is, nothing is kept; a short one is there."""
        for behave, expected in (
            (answering("200 OK", b"{}"), b"{}"), (answering("400 No", b"x" * 100_000), b""), (endless, b""),
        ):  # fmt: skip
            neighbour = Neighbour(behave)
            self.addCleanup(neighbour.close)
            with short_session() as session:
                answer = session.post(f"http://127.0.0.1:{neighbour.port}/", data=b"x", timeout=10)
                self.assertEqual(expected, answer.content)

    def test_protocols(self) -> None:
        """The one that speaks the protocol; TLS is for https alone."""
        exporter = make_exporter(choose("http://localhost:4318", {}))
        self.assertIsInstance(exporter, HttpExporter)
        exporter.shutdown()
        opened: list[tuple[str, str]] = []
        for kind in ("insecure_channel", "secure_channel"):
            channel: Callable[..., Any] = getattr(grpc_exporter, kind)

            def opening(target: str, *rest: Any, kind: str = kind, channel: Any = channel, **more: Any) -> Any:
                opened.append((kind, target))
                return channel(target, *rest, **more)

            self.patch(grpc_exporter, kind, opening)
        for endpoint in ("grpc://localhost:9", "localhost:9", "http://localhost:9", "https://localhost:9"):
            grpc = make_exporter(choose(endpoint, {}))
            self.assertIsInstance(grpc, GrpcExporter)
            grpc.shutdown()
        self.assertEqual([("insecure_channel", "localhost:9")] * 3 + [("secure_channel", "localhost:9")], opened)
