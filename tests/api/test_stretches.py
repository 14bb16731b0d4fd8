"""Runs of tokens, cut at parts."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.stretches import stretches
from vllmsim.inference import Answer, Part

PARTS = (Part("reasoning", 0, 1, 1, 3, 4), Part("call", 4, 5, 6, 8, 9, "f"))
ANSWER = Answer(range(10), [""] * 10, list("?ab???cd??"), "stop", parts=PARTS)


class StretchTests(SynchronousTestCase):
    """What comes of which part."""

    def test_parts(self) -> None:
        """A run is cut where a part ends; the ending token behind the last belongs to none."""
        found = [(s.number, s.start, s.stop, s.opens, s.closes, list(s.body)) for s in stretches(ANSWER, 0, 10)]
        self.assertEqual([(0, 0, 4, True, True, [1, 2]), (1, 4, 9, True, True, [6, 7])], found)
        self.assertEqual([], list(stretches(ANSWER, 9, 10)))

    def test_any_cut(self) -> None:
        """However the tokens come, each part opens once, closes once, and says everything once."""
        for step in range(1, 10):
            runs = [s for start in range(0, 10, step) for s in stretches(ANSWER, start, min(start + step, 10))]
            self.assertEqual([0, 1], [s.number for s in runs if s.opens])
            self.assertEqual([0, 1], [s.number for s in runs if s.closes])
            self.assertEqual([1, 2, 6, 7], [token for s in runs for token in s.body])

    def test_plain(self) -> None:
        """An answer without parts is one of text."""
        plain = Answer([1, 2], ["a", "b"], ["a", "b"], "length")
        [first], [second] = stretches(plain, 0, 1), stretches(plain, 1, 2)
        self.assertEqual(("text", True, False), (first.part.kind, first.opens, first.closes))
        self.assertEqual((False, True, [1]), (second.opens, second.closes, list(second.body)))
        self.assertEqual([], list(stretches(plain, 2, 2)))
