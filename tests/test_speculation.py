"""Tokens that are guessed ahead."""

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.speculation import Speculation

DRAWS = 20_000
SHARES = st.floats(0, 1)
SPECULATIONS = st.lists(SHARES, min_size=1, max_size=8).map(lambda rates: Speculation(tuple(sorted(rates)[::-1])))


class SpeculationTests(SynchronousTestCase):
    """How many of them are right."""

    def test_mean_length(self) -> None:
        """In the long run a step gives as many tokens as the mean acceptance length says."""
        generator = Random(1)
        for rate in (0.0, 0.3, 0.7, 0.95, 1.0):
            for tokens in (1, 3, 7):
                speculation = Speculation(tuple(rate**position for position in range(1, tokens + 1)))
                geometric = tokens + 1 if rate == 1 else (1 - rate ** (tokens + 1)) / (1 - rate)
                self.assertAlmostEqual(geometric, speculation.mean_length)
                drawn = sum(speculation.accepted(tokens, generator) + 1 for _ in range(DRAWS)) / DRAWS
                # Five standard errors; no draw is further from the mean than the number of tokens.
                self.assertApproximates(geometric, drawn, 5 * tokens / DRAWS**0.5)

    def test_positions(self) -> None:
        """At each position as many tokens are accepted as its rate says, whatever the rates are."""
        speculation, generator = Speculation((0.8, 0.55, 0.42, 0.0)), Random(2)
        ends = Counter(speculation.accepted(4, generator) for _ in range(DRAWS))
        for position, rate in enumerate(speculation.rates):
            share = sum(count for end, count in ends.items() if end > position) / DRAWS
            self.assertApproximates(rate, share, 5 * 0.5 / DRAWS**0.5)

    @given(SPECULATIONS, st.integers(0, 8), st.integers())
    def test_bounds(self, speculation: Speculation, drafted: int, seed: int) -> None:
        """No more is accepted than was verified; what is accepted of a shorter draft is the beginning of the longer."""
        most = min(drafted, speculation.tokens)
        told = [speculation.accepted(length, Random(seed)) for length in range(most + 1)]
        self.assertEqual([min(told[-1], length) for length in range(most + 1)], told)
        self.assertLessEqual(told[-1], most)

    def test_sure(self) -> None:
        """With the rate 1 all tokens are right, and with 0 none is."""
        for seed in range(50):
            self.assertEqual(3, Speculation((1.0, 1.0, 1.0)).accepted(3, Random(seed)))
            self.assertEqual(0, Speculation((0.0, 0.0, 0.0)).accepted(3, Random(seed)))

    def test_seeded(self) -> None:
        """The same seed accepts the same, draft for draft, and a draft costs one draw however long it is."""
        speculation = Speculation((0.7, 0.5, 0.3))
        one, other = Random(3), Random(3)
        told = [speculation.accepted(3, one) for _ in range(100)]
        self.assertEqual(told, [speculation.accepted(3, other) for _ in range(100)])
        self.assertEqual({0, 1, 2, 3}, set(told))
        shorter = [speculation.accepted(1, other) for _ in range(100)]
        self.assertEqual([min(1, speculation.accepted(3, one)) for _ in range(100)], shorter)
        self.assertEqual(one.getstate(), other.getstate())
