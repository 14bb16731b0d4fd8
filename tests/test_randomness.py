"""Seeded randomness."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.randomness import derive, fresh_seed


class DeriveTests(SynchronousTestCase):
    """Generators by purpose."""

    def test_names(self) -> None:
        """Equal seeds and names give equal generators, on any machine; others give others."""
        draws = [derive(1, "answer", 2).random(), derive(1, "answer", 2).random()]
        self.assertEqual(1, len(set(draws)))
        self.assertAlmostEqual(0.2469, draws[0], places=4)
        others = {derive(*names).random() for names in ((1, "answer", 3), (2, "answer", 2), (1, "answer2"), (1,))}
        self.assertEqual(4, len(others - set(draws)))

    def test_any_text(self) -> None:
        """Names may be any text, half a surrogate pair too."""
        derive(1, "\ud800")

    def test_fresh(self) -> None:
        """Fresh seeds differ."""
        self.assertNotEqual(fresh_seed(), fresh_seed())
