"""How long random answers are."""

import random
from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.dataset.lengths import free_length, length_class, limited_length

CLASSES = {
    500: [(1, 20), (21, 40), (41, 60), (61, 480), (481, 499)],
    47: [(1, 9), (10, 18), (19, 27), (28, 36), (37, 46)],
    50: [(1, 9), (10, 19), (20, 29), (30, 39), (40, 49)],
    7: [(1, 1), (2, 2), (3, 3), (4, 4), (5, 6)],
    10: [(1, 1), (2, 3), (4, 5), (6, 7), (8, 9)],
    101: [(1, 20), (21, 40), (41, 60), (61, 80), (81, 100)],
    102: [(1, 20), (21, 40), (41, 60), (61, 82), (83, 101)],
    1024: [(1, 20), (21, 40), (41, 60), (61, 1004), (1005, 1023)],
}
"""The bounds of llm-d-inference-sim's length classes for some limits."""


class LengthTests(SynchronousTestCase):
    """The distribution of lengths."""

    def setUp(self) -> None:
        """Have a generator."""
        self.generator = random.Random(1)

    def test_classes(self) -> None:
        """The five classes below the limit have the original's bounds."""
        for limit, bounds in CLASSES.items():
            self.assertEqual(bounds, [length_class(limit, index) for index in range(5)], limit)

    def test_shares(self) -> None:
        """The classes have the shares 0.2, 0.3, 0.2, 0.05 and 0.1; the limit itself has the rest."""
        draws = [limited_length(500, self.generator) for _ in range(20_000)]
        counts = Counter(next((i for i, (_, end) in enumerate(CLASSES[500]) if draw <= end), 5) for draw in draws)
        for index, share in enumerate((0.2, 0.3, 0.2, 0.05, 0.1, 0.15)):
            self.assertApproximates(share, counts[index] / 20_000, 0.01)

    def test_short_limits(self) -> None:
        """Every length up to a short limit is as likely; a limit of one is met."""
        self.assertEqual({1, 2, 3}, {limited_length(3, self.generator) for _ in range(100)})
        self.assertEqual(1, limited_length(1, self.generator))

    def test_free_length(self) -> None:
        """Without a limit lengths are about 40, and never beyond the context."""
        draws = [free_length(1000, self.generator) for _ in range(5000)]
        self.assertApproximates(41, sum(draws) / 5000, 1.5)
        self.assertTrue(all(1 <= free_length(limit, self.generator) <= limit for limit in range(1, 60)))
