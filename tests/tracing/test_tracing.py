"""Tracing from the start of a process's ranks to their end."""

import threading
from collections.abc import Callable
from typing import Any

from attrs import evolve
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.tracing.recording import ThreadedClock
from tests.tracing.test_exporting import ScriptedExporter
from vllmsim.records import HttpFacts, RequestRecord
from vllmsim.tracing.collector import Destination, TracingError
from vllmsim.tracing.tracing import PATIENCE, Tracing

WHERE = Destination("http/protobuf", "http://c:4318/v1/traces", "c:4318")


class TracingTests(SynchronousTestCase):
    """One process, whose exporter does as the test says."""

    def setUp(self) -> None:
        """Make it."""
        self.clock = ThreadedClock()
        self.exporter = ScriptedExporter()
        self.work: list[Callable[[], None]] = []
        self.tracing = self.make({})
        self.record = RequestRecord("/route", 1, http=HttpFacts("POST", "/route", {}, status=200))
        self.record.ends(1.0)

    def make(self, environ: dict[str, str], **more: Any) -> Tracing:
        """Make what traces."""
        more = {"make": lambda _: self.exporter, "in_thread": self.work.append, **more}
        return Tracing(WHERE, {"a": "b"}, self.clock, environ=environ, **more)

    def test_whole(self) -> None:
        """A request that ends while it runs has its span sent before the end; any other has none."""
        spans = self.tracing.spans(3, lambda: {"/route"}, 100)
        spans.ended(self.record)
        self.tracing.start()
        spans.ended(self.record)
        stopped = self.tracing.stop()
        spans.ended(self.record)
        self.exporter.go.set()
        self.work.pop()()
        self.assertNoResult(stopped)
        self.clock.run_calls()
        self.successResultOf(stopped)
        self.assertEqual([1], self.exporter.batches)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_rank(self) -> None:
        """A process of one rank says which; one of several does not."""
        for ranks, expected in (([3], "3"), ([0, 1], None)):
            tracing = self.make({})
            for rank in ranks:
                tracing.spans(rank, lambda: (), 100)
            tracing.start()
            assert tracing._provider is not None
            attributes = tracing._provider.resource.attributes
            self.assertEqual((expected, "b"), (attributes.get("vllmsim.rank"), attributes["a"]))
            tracing.stop()
            self.exporter.go.set()
            self.work.pop()()
            self.clock.run_calls()

    def test_never_started(self) -> None:
        """What has not begun ends at once."""
        self.successResultOf(self.tracing.stop())

    def test_hanging(self) -> None:
        """A collector that hangs keeps nobody: the log says what was lost, and what comes later changes nothing."""
        spans = self.tracing.spans(0, lambda: {"/route"}, 100)
        self.tracing.start()
        for _ in range(3):
            spans.ended(self.record)
        stopped = self.tracing.stop()
        with capturedLogs() as events:
            self.clock.advance(PATIENCE)
        self.successResultOf(stopped)
        self.assertIn("to c:4318, and 3 spans are lost so far", str(formatEvent(events[-1])))
        self.exporter.go.set()
        self.work.pop()()
        self.clock.run_calls()
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_failing(self) -> None:
        """What the collector refuses is told in the reactor's thread, as is what the library says."""
        self.exporter.result = SpanExportResult.FAILURE
        self.exporter.go.set()
        spans = self.tracing.spans(0, lambda: {"/route"}, 100)
        self.tracing.start()
        spans.ended(self.record)
        self.tracing.stop()
        self.work.pop()()
        with capturedLogs() as events:
            self.clock.run_calls()
        self.assertIn("1 spans are lost so far", str(formatEvent(events[-1])))

    def test_own_thread(self) -> None:
        """The end is waited for in a thread that keeps no process alive."""
        exporters = [self.exporter]
        tracing = Tracing(WHERE, {}, self.clock, lambda _: exporters[0], environ={})
        tracing.start()
        stopped = tracing.stop()
        for thread in [each for each in threading.enumerate() if each.name == "tracing"]:
            self.assertTrue(thread.daemon)
            thread.join(10)
        self.clock.run_calls()
        self.successResultOf(stopped)

    def test_wrong_environment(self) -> None:
        """What the environment says wrong, or a file that is not there, is one line, and nothing is left behind."""

        def fail(_: Destination) -> SpanExporter:
            raise FileNotFoundError(2, "No such file or directory", "/no/ca.pem")

        for tracing, words in (
            (self.make({"OTEL_BSP_MAX_QUEUE_SIZE": "x"}), "OTEL_BSP_MAX_QUEUE_SIZE is 'x'"),
            (self.make({}, make=fail), "No such file or directory: '/no/ca.pem'"),
        ):
            error = self.assertRaises(TracingError, tracing.start)
            self.assertTrue(str(error.code).startswith("vllmsim: cannot send traces: "))
            self.assertIn(words, str(error.code))
            self.successResultOf(tracing.stop())

    def test_short_queue(self) -> None:
        """A queue may be shorter than what is usually sent at once."""
        tracing = self.make({"OTEL_BSP_MAX_QUEUE_SIZE": "3"})
        tracing.start()
        stopped = tracing.stop()
        self.work.pop()()
        self.clock.run_calls()
        self.successResultOf(stopped)

    def test_destination(self) -> None:
        """The exporter is made for where spans go."""
        made: list[Destination] = []

        def make(destination: Destination) -> SpanExporter:
            made.append(destination)
            return self.exporter

        self.tracing = self.make({}, make=make)
        self.assertEqual([], made)
        self.tracing.start()
        self.assertEqual([evolve(WHERE)], made)
        self.tracing.stop()
        self.work.pop()()
        self.clock.run_calls()
