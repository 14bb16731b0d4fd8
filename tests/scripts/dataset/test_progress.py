"""How far the work is."""

import io

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.scripts.dataset.progress import Progress


class Terminal(io.StringIO):
    """Somebody watches."""

    def isatty(self) -> bool:
        """Say so."""
        return True


class ProgressTests(SynchronousTestCase):
    """What is told, and when."""

    def test_log(self) -> None:
        """In a log there is a line each five seconds."""
        clock, log = Clock(), io.StringIO()
        progress = Progress(log, clock.seconds, 1000)
        for second in range(1, 12):
            clock.advance(1)
            progress.advance(second * 50, second * 10)
        expected = [" 25% of the input, 50 records, 10/s", " 50% of the input, 100 records, 10/s"]
        self.assertEqual(expected, log.getvalue().splitlines())
        self.assertEqual(11.0, progress.seconds)

    def test_bar(self) -> None:
        """On a terminal there is a bar, some times a second, which makes room for other lines."""
        clock, terminal = Clock(), Terminal()
        progress = Progress(terminal, clock.seconds, 1000)
        for _ in range(10):
            clock.advance(0.25)
            progress.advance(500, 10)
        self.assertEqual(
            10, terminal.getvalue().count("[###############...............]  50% of the input, 10 records")
        )
        clock.advance(0.1)
        before = terminal.getvalue()
        progress.advance(501, 10)
        self.assertEqual(before, terminal.getvalue())
        progress.say("line 7 is bad")
        self.assertTrue(terminal.getvalue().endswith("\r\x1b[Kline 7 is bad\n"))
        length = len(terminal.getvalue())
        progress.clear()
        self.assertEqual(length, len(terminal.getvalue()))

    def test_unknown(self) -> None:
        """Where nobody knows how much there is, what is done is told."""
        clock, log = Clock(), io.StringIO()
        progress = Progress(log, clock.seconds)
        clock.advance(5)
        progress.advance(500, 10)
        self.assertEqual("10 records, 2/s\n", log.getvalue())
