"""Things in an order."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.scheduling.ranking import Rank, Ranking

STEPS = st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 3)), max_size=60)


class RankingTests(SynchronousTestCase):
    """The first of all, whoever comes and goes."""

    @given(STEPS)
    def test_first(self, steps: list[tuple[bool, int, int]]) -> None:
        """The first is the one with the lowest rank of those that are there."""
        ranking: Ranking[int] = Ranking()
        ranks: dict[int, Rank] = {}
        for order, (comes, thing, level) in enumerate(steps):
            if comes:
                ranks[thing] = (level, order)
                ranking.add(thing, (level, order))
            else:
                self.assertEqual(ranks.pop(thing, None) is not None, ranking.discard(thing))
            self.assertEqual(min(((rank, thing) for thing, rank in ranks.items()), default=None), ranking.first())
            self.assertEqual((len(ranks), thing in ranks), (len(ranking), thing in ranking))

    def test_same_again(self) -> None:
        """A thing that is added again where it stands, or after it has left, is there once."""
        ranking: Ranking[str] = Ranking()
        for _ in range(3):
            ranking.add("a", (0, 1))
            ranking.add("a", (0, 1))
            self.assertEqual(((0, 1), "a"), ranking.first())
            self.assertTrue(ranking.discard("a"))
            self.assertIsNone(ranking.first())

    def test_bounded(self) -> None:
        """Who comes and goes behind one who stays leaves nothing behind."""
        ranking: Ranking[int] = Ranking()
        ranking.add(-1, (0, 0))
        for number in range(10_000):
            ranking.add(number, (1, number))
            ranking.discard(number)
        self.assertLess(len(ranking._heap), 100)
        self.assertEqual(((0, 0), -1), ranking.first())
