"""The line that says from time to time what a rank does."""

from typing import Any, cast
from unittest.mock import ANY

from attrs import evolve
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.metrics.statslog import Drafts, Figures, StatsLog


class StatsLogTests(SynchronousTestCase):
    """What is said, and when."""

    def setUp(self) -> None:
        """Have a log of a rank that has done something before."""
        self.clock = Clock()
        self.figures = Figures(computed=100, generated=50)
        self.lines: list[str] = []
        observer = cast("ILogObserver", self._hear)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.log = StatsLog(self.clock, 2, lambda: self.figures, 10.0)
        self.log.start()
        self.addCleanup(self.log.stop)

    def _hear(self, event: dict[str, Any]) -> None:
        if event.get("log_namespace") == "vllmsim.metrics.statslog.StatsLog":
            self.assertEqual("info", event["log_level"].name)
            self.lines.append(formatEvent(event))

    def after(self, seconds: float, **changes: Any) -> list[str]:
        """Change what the rank does, let time pass, and take the lines that came."""
        self.figures = evolve(self.figures, **changes)
        self.clock.advance(seconds)
        lines, self.lines = self.lines, []
        return lines

    def test_text(self) -> None:
        """The line is vLLM's, with the tokens per second since the last one."""
        expected = (
            "Engine 002: Avg prompt throughput: 12.3 tokens/s, Avg generation throughput: 4.5 tokens/s, "
            "Running: 1 reqs, Waiting: 0 reqs, GPU KV cache usage: 1.6%, Prefix cache hit rate: 36.4%"
        )
        lines = self.after(10, computed=223, generated=95, running=1, usage=1 / 63, hits=4 / 11)
        self.assertEqual([expected], lines)

    def test_more(self) -> None:
        """What some ranks alone have is said where it is in vLLM's line."""
        [line] = self.after(10, computed=101, waiting=3, deferred=2, external_hits=0.5, media_hits=1.0)
        expected = "Waiting: 3 reqs, Deferred: 2 reqs, GPU KV cache usage: 0.0%, Prefix cache hit rate: 0.0%, External "
        self.assertIn(f"{expected}prefix cache hit rate: 50.0%, MM cache hit rate: 100.0%", line)

    def test_interval(self) -> None:
        """Nothing is said before the interval is over; then what was done in it."""
        self.assertEqual([], self.after(9.9, computed=200))
        self.assertEqual([ANY], self.after(0.1))
        [line] = self.after(10, computed=201)
        self.assertIn("Avg prompt throughput: 0.1 tokens/s", line)

    def test_idle(self) -> None:
        """A rank that does nothing says so once, and then nothing until it does something."""
        self.assertEqual([], self.after(10))
        self.assertEqual([ANY], self.after(10, generated=51))
        [line] = self.after(10)
        self.assertIn("Avg generation throughput: 0.0 tokens/s", line)
        self.assertEqual([], self.after(10))
        self.assertEqual([ANY], self.after(10, computed=101))

    def test_drafts(self) -> None:
        """Where tokens are guessed, vLLM's line says what became of those that were verified since the last one."""
        self.after(10, generated=51, drafts=Drafts(10, 30, (8, 4, 2)))
        self.assertEqual(1, len(self.after(10, generated=52)))
        [_, line] = self.after(10, generated=173, drafts=Drafts(60, 180, (48, 24, 12)))
        expected = (
            "SpecDecoding metrics: Mean acceptance length: 2.40, Accepted throughput: 3.50 tokens/s, Drafted "
            "throughput: 7.50 tokens/s, Accepted: 70 tokens, Drafted: 150 tokens, Per-position acceptance rate: "
            "0.800, 0.400, 0.200, Avg Draft acceptance rate: 46.7%"
        )
        self.assertEqual(expected, line)

    def test_no_drafts(self) -> None:
        """A server that could guess, and has verified nothing, says nothing of it."""
        [line] = self.after(10, generated=51, drafts=Drafts(0, 0, (0, 0)))
        self.assertTrue(line.startswith("Engine 002"))

    def test_stop(self) -> None:
        """One that is stopped says nothing more, and leaves no timer; to stop it twice does no harm."""
        self.log.stop()
        self.log.stop()
        self.assertEqual([], self.clock.getDelayedCalls())
