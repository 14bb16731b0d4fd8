"""Who remembers requests, and who is told of those that have ended."""

import json
from pathlib import Path

from twisted.logger import capturedLogs

from tests.harness import RankTestCase
from vllmsim.appending import INTERVAL
from vllmsim.journal.requestlog import RequestLog
from vllmsim.tracing.spans import RequestSpans

TRACED = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}


class ObserverTests(RankTestCase):
    """What a configuration makes of it."""

    def test_none(self) -> None:
        """Usually nobody is told."""
        self.make_rank()
        self.assertEqual(([], []), (self.rank.journal.observers, self.rank.files))

    def test_all(self) -> None:
        """A request log and spans are told, also of what the journal does not keep."""
        path = Path(self.mktemp())
        self.make_rank(
            "--request-log", str(path), "--otlp-traces-endpoint", "http://localhost:4318", "--journal-size", "0"
        )
        self.assertEqual([RequestSpans, RequestLog], [type(each) for each in self.rank.journal.observers])
        self.complete()
        self.clock.advance(INTERVAL)
        self.assertEqual("/v1/completions", json.loads(path.read_text())["route"])

    def test_hint(self) -> None:
        """Where nobody traces, the log says once that a request is part of a trace, also if none are remembered."""
        self.make_rank("--journal-size", "0")
        with capturedLogs() as events:
            self.complete()
            self.post("/v1/completions", {"prompt": "a"}, **TRACED)
            self.post("/v1/completions", {"prompt": "a"}, **TRACED)
        hint = "Received a request with trace context but tracing is disabled"
        self.assertEqual([hint], [event["log_format"] for event in events])

    def test_no_hint(self) -> None:
        """Where requests are traced there is no such line."""
        self.make_rank("--otlp-traces-endpoint", "http://localhost:4318")
        with capturedLogs() as events:
            self.post("/v1/completions", {"prompt": "a"}, **TRACED)
        self.assertEqual([], events)
