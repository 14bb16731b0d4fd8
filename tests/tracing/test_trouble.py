"""What the log says of a collector that does not take spans."""

import logging
from collections.abc import Sequence
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.tracing.trouble import INTERVAL, SOON, Complaints, Trouble, secret_headers


class TroubleTests(SynchronousTestCase):
    """One collector."""

    def setUp(self) -> None:
        """Begin without trouble."""
        self.clock = Clock()
        self.trouble = Trouble("collector:4318", self.clock)
        self.addCleanup(lambda: self.assertEqual([], self.clock.getDelayedCalls()))
        self.addCleanup(self.trouble.stop)
        self.events = self.enterContext(capturedLogs())
        self.read = 0

    @property
    def lines(self) -> list[str]:
        """What the log says since this was last asked."""
        events, self.read = self.events[self.read :], len(self.events)
        return [formatEvent(event) for event in events]

    def test_once_a_minute(self) -> None:
        """However much goes wrong, there is one line soon, and then one a minute that says how much was lost."""
        for second in range(130):
            self.trouble.heard(f"refused {second}")
            self.trouble.exported(2)
            self.clock.advance(1)
        self.assertEqual(
            [
                "Traces do not all get to collector:4318, and 2 spans are lost so far: refused 0",
                "Traces do not all get to collector:4318, and 122 spans are lost so far: refused 60",
                "Traces do not all get to collector:4318, and 242 spans are lost so far: refused 120",
            ],
            self.lines,
        )

    def test_over(self) -> None:
        """When the collector takes spans again the log says so once, with what was lost; if all was well, nothing."""
        self.trouble.exported(0)
        self.trouble.exported(5)
        self.clock.advance(SOON)
        self.lines  # noqa: B018 - read them
        self.trouble.exported(0)
        self.trouble.exported(0)
        self.assertEqual(["Traces get to collector:4318 again; 5 spans are lost."], self.lines)

    def test_full(self) -> None:
        """Spans that find the queue full are counted, and the reason is told."""
        for _ in range(1000):
            self.trouble.dropped(1)
        self.clock.advance(SOON)
        self.assertIn("1000 spans are lost so far: it takes them more slowly than they are made", self.lines[0])

    def test_no_loss(self) -> None:
        """A complaint that costs no span is told as it is, and that all is well again is not said then."""
        self.trouble.heard("no such sampler")
        self.clock.advance(SOON)
        self.trouble.exported(0)
        self.assertEqual(["While traces go to collector:4318: no such sampler"], self.lines)

    def test_no_reason(self) -> None:
        """Where nobody says why, so does the log."""
        self.trouble.exported(1)
        self.clock.advance(SOON)
        self.assertIn("1 spans are lost so far: the collector does not take them", self.lines[0])

    def test_stop(self) -> None:
        """At the end what was not told yet is told, and then nothing more."""
        self.trouble.exported(1)
        self.clock.advance(SOON)
        self.trouble.exported(1)
        self.trouble.stop()
        self.assertEqual(2, len(self.lines))
        self.trouble.exported(1)
        self.clock.advance(INTERVAL)
        self.assertEqual([], self.lines)


class ComplaintTests(SynchronousTestCase):
    """What OpenTelemetry says to the logging of Python's library."""

    def hear(self, secrets: Sequence[str] = (), **facts: Any) -> list[str]:
        """Have it say something."""
        heard: list[str] = []
        complaints = Complaints(heard.append, secrets)
        complaints.begin()
        try:
            logging.getLogger("opentelemetry.sdk").log(facts.pop("level", logging.ERROR), facts.pop("text"), **facts)
        finally:
            complaints.end()
        return heard

    def test_line(self) -> None:
        """A complaint is one line, however many it was, and not longer than a line should be."""
        self.assertEqual(["a b c"], self.hear(text="a\nb\r\n  c"))
        (long,) = self.hear(text="x" * 10_000)
        self.assertEqual(503, len(long))

    def test_exception(self) -> None:
        """Of a traceback there is what it ends with."""
        error = OSError(9, "no")
        self.assertEqual(["oops OSError(9, 'no')"], self.hear(text="oops", exc_info=error))

    def test_secrets(self) -> None:
        """Keys that the environment has for the collector are not told, neither where it has them wrong."""
        for told, text in (
            ("authorization: Bearer hunter2", "Header format invalid: authorization: Bearer hunter2"),
            ("a=1, authorization=Bearer%20hunter2", "wrong header authorization=Bearer%20hunter2"),
            ("a=1,x=hunter2", "wrong header value hunter2"),
        ):
            heard = self.hear(secret_headers({"OTEL_EXPORTER_OTLP_HEADERS": told}), text=text)
            self.assertNotIn("hunter2", heard[0])
        error = ValueError("in header value: 'Bearer hunter2'")
        heard = self.hear(
            secret_headers({"OTEL_EXPORTER_OTLP_TRACES_HEADERS": "a=Bearer%20hunter2"}), text="no", exc_info=error
        )
        self.assertEqual(["no ValueError(\"in header value: '***'\")"], heard)
        self.assertEqual([], secret_headers({}))

    def test_chatter(self) -> None:
        """What is no complaint is not told."""
        self.assertEqual([], self.hear(text="hello", level=logging.INFO))

    def test_end(self) -> None:
        """Afterwards the library's logging is as it was."""
        logger = logging.getLogger("opentelemetry")
        before = [*logger.handlers], logger.propagate
        self.hear(text="a")
        self.assertEqual(before, ([*logger.handlers], logger.propagate))
