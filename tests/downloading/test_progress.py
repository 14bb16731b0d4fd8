"""Lines about downloads."""

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.downloading.progress import Progress, describe_bytes


class ProgressTests(SynchronousTestCase):
    """When there is a line, and what it says."""

    def setUp(self) -> None:
        """Make a clock."""
        self.clock = Clock()

    def lines(self, progress: Progress, *steps: tuple[float, int]) -> list[str]:
        """Let time pass and bytes come."""
        with capturedLogs() as events:
            for seconds, count in steps:
                self.clock.advance(seconds)
                progress.advance(count)
        return [event["log_format"].format(**event) for event in events]

    def test_share(self) -> None:
        """There is a line every tenth of the file, however fast it comes."""
        lines = self.lines(Progress(self.clock, "d", 0, 1_000_000), *[(0.01, 1000)] * 1000)
        self.assertEqual(10, len(lines))
        self.assertEqual("d: 100 kB of 1 MB (10 %), 100 kB/s.", lines[0])

    def test_time(self) -> None:
        """There is a line every 5 seconds, however slowly it comes."""
        lines = self.lines(Progress(self.clock, "d", 0, 10**12), *[(1.0, 1000)] * 11)
        self.assertEqual(["d: 5 kB of 1 TB (0 %), 1 kB/s.", "d: 10 kB of 1 TB (0 %), 1 kB/s."], lines)

    def test_unknown(self) -> None:
        """A file of unknown size has lines by time alone."""
        lines = self.lines(Progress(self.clock, "d", 0, None), *[(0.0, 10**6)] * 5, (6.0, 10**6))
        self.assertEqual(["d: 6 MB, 1 MB/s."], lines)

    def test_continued(self) -> None:
        """What was there before does not count for the rate."""
        lines = self.lines(Progress(self.clock, "d", 500_000, 1_000_000), (1.0, 100_000))
        self.assertEqual(["d: 600 kB of 1 MB (60 %), 100 kB/s."], lines)

    def test_at_once(self) -> None:
        """What comes in no time has no rate."""
        self.assertEqual(["d: 10 bytes of 10 bytes (100 %)."], self.lines(Progress(self.clock, "d", 0, 10), (0, 10)))

    def test_units(self) -> None:
        """Sizes have three digits."""
        for count, text in ((0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (123456, "123 kB"), (2e12, "2 TB")):
            self.assertEqual(text, describe_bytes(count))
