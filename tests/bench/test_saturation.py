"""The search for the most streams that a server sustains."""

from twisted.trial.unittest import SynchronousTestCase

from bench.lateness import Lateness
from bench.load import Window
from bench.paced import ITL, Paced
from bench.saturation import Search, is_sustained


def _paced(streams: int, capacity: int, p50: float = 0.3) -> Paced:
    """Make a run on a server that sends so many tokens in a second and is never late with less."""
    rate = min(streams / ITL, capacity)
    busy = round(rate / capacity * 10**9)
    return Paced(streams, Window(10**9, round(rate), 0, busy, 0), Lateness(p50, 1.0, 2.0, None))


class SearchTests(SynchronousTestCase):
    """Looking for a number."""

    def search(self, capacity: int) -> Search:
        """Search on a server with a capacity."""
        search = Search()
        while not search.is_over:
            search.learn(_paced(search.streams, capacity))
        return search

    def test_finds(self) -> None:
        """The number that is found is sustained, and a tenth more would not be."""
        for capacity in (16_000, 33_000, 71_000, 160_000):
            best = self.search(capacity).best
            assert best is not None
            rate = best.streams / ITL
            self.assertTrue(0.9 * capacity <= rate <= capacity / 0.97, f"{rate} of {capacity}")

    def test_room(self) -> None:
        """It does not go beyond the room that there is for streams."""
        best = self.search(10**9).best
        self.assertEqual(4000, best and best.streams)

    def test_never(self) -> None:
        """On a server that sustains nothing it ends, too."""
        self.assertIsNone(self.search(100).best)

    def test_late(self) -> None:
        """Tokens that all come, but late, are not sustained; nor are those that do not all come."""
        self.assertTrue(is_sustained(_paced(500, 30_000)))
        self.assertFalse(is_sustained(_paced(500, 30_000, p50=11.0)))
        self.assertFalse(is_sustained(_paced(500, 24_000)))
