"""Bars, and the page of results."""

from datetime import date

from twisted.trial.unittest import SynchronousTestCase

from bench.plan import Result
from bench.report import BARS, page, summary


class BarTests(SynchronousTestCase):
    """Whether a figure is good enough."""

    def test_at_most(self) -> None:
        """Of what should be small, the bar itself is met and more is not."""
        bar = BARS["startup"]
        verdicts = [bar.verdict(figure) for figure in (450, 700, 700.1)]
        self.assertEqual(["met, and the stretch too", "met", "**not met**"], verdicts)

    def test_at_least(self) -> None:
        """Of what should be large, less than the bar is not met."""
        bar = BARS["ranks"]
        verdicts = [bar.verdict(figure) for figure in (2.0, 1.7, 1.69)]
        self.assertEqual(["met, and the stretch too", "met", "**not met**"], verdicts)

    def test_units(self) -> None:
        """Figures are written in the unit of their bar."""
        written = [BARS[name].write(figure) for name, figure in (("burst", 0.352), ("lateness", 0.5), ("memory", 5.04))]
        self.assertEqual(["35.2 %", "+0.50 ms", "5.0 KB"], written)


class PageTests(SynchronousTestCase):
    """What is written down."""

    def test_summary(self) -> None:
        """What was not measured has no row."""
        self.assertEqual(
            [["start to the first 200 on /health", "<= 700 ms", "450 ms", "512 ms", "met"]],
            summary({"startup": 512.0}).rows,
        )

    def test_page(self) -> None:
        """The page names the machine, begins with the bars, and has every table."""
        results = [Result("One", ("a",), [["1"]], {"startup": 512.0}), Result("Two", ("b",), [["2"]], {})]
        text = page({"kernel": "Linux 6"}, results, date(2026, 1, 2))
        titles = [line for line in text.splitlines() if line.startswith("## ")]
        self.assertEqual(["## Bars", "## One", "## Two"], titles)
        self.assertIn("2026-01-02:\n\n- kernel: Linux 6\n", text)
