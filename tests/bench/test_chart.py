"""Pictures of figures."""

import xml.etree.ElementTree as ET

from twisted.trial.unittest import SynchronousTestCase

from bench.chart import Panel, draw

SPACE = "{http://www.w3.org/2000/svg}"


class ChartTests(SynchronousTestCase):
    """One with two panels."""

    def setUp(self) -> None:
        """Draw it."""
        panels = (Panel("tokens < many", [0.0, 50.0, 100.0], "#000"), Panel("ms", [1.5, 0.75, 14.0], "#111"))
        self.drawn = ET.fromstring(  # noqa: S314 - it is our own
            draw("A & B", "clients", [1, 2, 16], panels, " ".join(["--long-option"] * 20))
        )
        self.height = float(self.drawn.attrib["viewBox"].split()[3])

    def points(self, colour: str) -> list[tuple[float, float]]:
        """Find where the dots of a panel are, from its left and upwards."""
        dots = [each for each in self.drawn.iter(f"{SPACE}circle") if each.attrib["fill"] == colour]
        return [(float(each.attrib["cx"]), -float(each.attrib["cy"])) for each in dots]

    def test_places(self) -> None:
        """Dots are as far to the right as the logarithms of their places, and as high as their values."""
        (x1, y1), (x2, y2), (x16, y16) = self.points("#000")
        self.assertAlmostEqual(4 * (x2 - x1), x16 - x1, delta=0.5)
        self.assertAlmostEqual(2 * (y2 - y1), y16 - y1, delta=0.5)
        self.assertEqual([x1, x2, x16], [x for x, _ in self.points("#111")])
        (_, first), (_, second), (_, third) = self.points("#111")
        self.assertTrue(second < first < third)

    def test_text(self) -> None:
        """Everything is said, nothing outside of the picture, and axes have round numbers."""
        texts = list(self.drawn.iter(f"{SPACE}text"))
        said = [each.text for each in texts]
        for text in ("A & B", "clients", "tokens < many", "ms", "16", "100", "50", "15", "5", "0"):
            self.assertIn(text, said)
        self.assertEqual(20, " ".join(filter(None, said)).count("--long-option"))
        self.assertTrue(all(0 < float(each.attrib["y"]) < self.height for each in texts))
