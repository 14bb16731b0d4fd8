"""Lateness: what it is, and what it is not."""

from twisted.trial.unittest import SynchronousTestCase

from bench.lateness import latenesses, percentile, summarize

_MS = 1_000_000
_GAP = 20 * _MS


class LatenessTests(SynchronousTestCase):
    """Tokens against the clock of their stream."""

    def test_request_does_not_count(self) -> None:
        """A stream that begins late and keeps its gaps has no late token."""
        self.assertEqual([0, 0, 0], list(latenesses([70 * _MS, 90 * _MS, 110 * _MS], _GAP)))

    def test_late_token(self) -> None:
        """A token that is late is so by itself: the next one is punctual again."""
        self.assertEqual([0, 5 * _MS, 0], list(latenesses([0, 25 * _MS, 40 * _MS], _GAP)))

    def test_first_token_late(self) -> None:
        """A first token that came late makes no other one early."""
        self.assertEqual([7 * _MS, 0, 1 * _MS], list(latenesses([7 * _MS, 20 * _MS, 41 * _MS], _GAP)))

    def test_percentile(self) -> None:
        """A percentile is one of the values, the greatest one at most."""
        values = [float(value) for value in range(100)]
        self.assertEqual((50.0, 99.0, 99.0), tuple(percentile(values, share) for share in (0.5, 0.99, 1)))
        self.assertRaises(ValueError, percentile, [], 0.5)


class SummaryTests(SynchronousTestCase):
    """All streams of a run."""

    def summarize(self, gap: int, tokens: int = 320, first: int = 10, late: int = 0) -> tuple[float, float | None]:
        """Summarize two streams that have a token at each gap, one of them late.

        :return: the worst lateness and the drift.
        """
        stamps = [start + index * gap for start in (0, 3 * _MS) for index in range(tokens)]
        stamps[100] += late
        found = summarize(stamps, tokens, _GAP, (0, 10_000 * _MS), first)
        return found.worst, found.drift

    def test_punctual(self) -> None:
        """Streams that keep their gap drift nowhere."""
        self.assertEqual((0.0, 0.0), self.summarize(_GAP))

    def test_drift(self) -> None:
        """A server that is a tenth of a millisecond late each time is so hundred times as much after some seconds."""
        _, drift = self.summarize(_GAP + _MS // 10)
        self.assertAlmostEqual(28.0, drift or 0.0)

    def test_too_short(self) -> None:
        """Of short streams nobody can tell the drift."""
        self.assertEqual((0.0, None), self.summarize(_GAP, tokens=200))

    def test_window(self) -> None:
        """Only tokens of the window count for the percentiles."""
        worst, _ = self.summarize(_GAP, late=9 * _MS)
        self.assertEqual(9.0, worst)
        stamps = [index * _GAP for index in range(20)]
        stamps[3] += 9 * _MS
        self.assertEqual(0.0, summarize(stamps, 20, _GAP, (100 * _MS, 400 * _MS), 0).worst)
