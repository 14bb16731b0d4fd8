"""How many tokens of a stream leave in one chunk."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.pace import Pace


def chunks(pace: Pace, runs: list[int]) -> list[int]:
    """Tell with how many tokens in all each chunk leaves, when they come in runs."""
    sent, there, left = 0, 0, []
    for run in runs:
        for count in range(there + 1, there + run + 1):
            if pace.due(sent, count, there + run):
                sent = count
                left.append(count)
        there += run
    return left


class PaceTests(SynchronousTestCase):
    """When chunks leave."""

    def test_single(self) -> None:
        """Usually each token has one of its own, also of those that come at the same time."""
        self.assertEqual([1, 2, 3, 4, 5], chunks(Pace(), [1, 4]))
        self.assertEqual((True, False, False), (Pace().single, Pace(2).single, Pace(1, together=True).single))

    def test_interval(self) -> None:
        """Or there are as many in each as it says."""
        self.assertEqual([3, 6], chunks(Pace(3), [1, 4, 3]))

    def test_together(self) -> None:
        """Those of one step may leave together, and wait for the next if they are too few."""
        self.assertEqual([1, 5, 8], chunks(Pace(1, together=True), [1, 4, 3]))
        self.assertEqual([5, 9], chunks(Pace(3, together=True), [1, 4, 2, 2]))

    @given(st.integers(1, 5), st.lists(st.integers(1, 6), max_size=20))
    def test_ends(self, interval: int, runs: list[int]) -> None:
        """Chunks that leave together end where a run ends, and none but what is too short is left."""
        ends = {sum(runs[:number]) for number in range(len(runs) + 1)}
        left = chunks(Pace(interval, together=True), runs)
        self.assertLessEqual(set(left), ends)
        self.assertLess(sum(runs) - (left[-1] if left else 0), interval)
