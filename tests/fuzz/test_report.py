"""How cases are counted, chosen and reported."""

import os
import random
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from tests.fuzz.report import PLAYED, SURFACES, Figures, Refused, cases, chance_of, play

SURFACE = next(iter(SURFACES))


class CaseTests(SynchronousTestCase):
    """Cases of a surface."""

    def setUp(self) -> None:
        """Have nobody ask for anything, and forget afterwards what is played here."""
        variables = {name: each for name, each in os.environ.items() if not name.startswith("FUZZ_")}
        self.variables = patch.dict(os.environ, variables, clear=True)
        self.variables.start()
        self.addCleanup(self.variables.stop)
        self.addCleanup(lambda played: PLAYED.__setitem__(slice(None), played), list(PLAYED))

    def play(self) -> Figures:
        """Play cases of which one in four is refused, and one in four is at fault."""
        self.numbers: list[int] = []

        def one(_: random.Random, number: int) -> None:
            self.numbers.append(number)
            if number % 4 == 1:
                raise Refused
            if number % 4 == 2:
                raise ValueError("no")

        return play(SURFACE, 8, one)

    def test_shares(self) -> None:
        """All surfaces together have as many cases as are asked for, and each has few when nobody asks."""
        self.assertEqual(7, cases(SURFACE, 7))
        os.environ["FUZZ_CASES"] = "50000"
        counts = [cases(name, 7) for name in SURFACES]
        self.assertTrue(50_000 <= sum(counts) < 50_000 + len(counts), counts)
        self.assertTrue(all(counts))

    def test_figures(self) -> None:
        """Cases are accepted, refused or found to be at fault; then the surface fails and says how to do it again."""
        figures = self.play()
        self.assertEqual((8, 4, 2, 2), (figures.cases, figures.accepted, figures.refused, len(figures.findings)))
        self.assertEqual([figures], PLAYED[-1:])
        error = self.assertRaises(AssertionError, figures.tell)
        self.assertIn("case 6: ValueError: no", str(error))
        self.assertIn(f"FUZZ_CASE=6 FUZZ_SURFACE='{SURFACE}'", str(error))

    def test_one(self) -> None:
        """One case can be played alone, and is decided as it is among the others."""
        os.environ["FUZZ_CASE"] = "6"
        self.play()
        self.assertEqual([6], self.numbers)
        self.assertEqual(chance_of(SURFACE, 6).random(), chance_of(SURFACE, 6).random())
        self.assertNotEqual(chance_of(SURFACE, 6).random(), chance_of(SURFACE, 7).random())
