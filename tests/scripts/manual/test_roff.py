"""The language of manual pages."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.scripts.manual import roff


class RoffTests(SynchronousTestCase):
    """Text that stays text."""

    def test_signs(self) -> None:
        """What is typed comes out so that it can be copied, and nothing in it is a request."""
        self.assertEqual(r"\fB\-\-a \(aqb\(aq \(ti\(ha\(ga \ec\fR", roff.bold("--a 'b' ~^` \\c"))
        self.assertEqual(r"\fIFILE\fR", roff.italic("FILE"))
        self.assertEqual(r"\&.TH is text", roff.text(".TH is\ntext"))

    def test_lines(self) -> None:
        """Long text is cut into lines that all begin with text."""
        lines = roff.filled(" ".join(["." * 20] * 9))
        self.assertEqual([r"\&" + " ".join(["." * 20] * 3)] * 3, lines)

    def test_paragraphs(self) -> None:
        """Paragraphs are filled, and examples among them stay as they are."""
        expected = ["a b", ".PP", ".EX", "  c", "    d", ".EE", ".PP", "e"]
        self.assertEqual(expected, list(roff.paragraphs("a\nb\n\n  c\n    d\n\ne\n")))

    def test_entry(self) -> None:
        """A term is explained by sentences, of which some may be empty."""
        self.assertEqual([".TP", "x", "One.", "Two."], roff.entry("x", "One.", "", "Two."))
