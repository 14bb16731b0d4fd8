"""Paced streams: how their starts are spread, and what is made of several runs."""

from math import gcd

from twisted.trial.unittest import SynchronousTestCase

from bench.lateness import Lateness
from bench.load import Window
from bench.paced import Middle, Paced, waves


def _paced(cpu: int, p99: float) -> Paced:
    return Paced(500, Window(10**9, 1000, 0, cpu * 10**6, 10**8), Lateness(0.1, p99, 9.0, None))


class WavesTests(SynchronousTestCase):
    """How starts are spread."""

    def test_phases(self) -> None:
        """However many streams there are, no two of them are in phase."""
        for streams in (1, 2, 100, 500, 1000, 2000, 3072, 4000):
            phases = {index * waves(streams) % streams for index in range(streams)}
            self.assertEqual((1, streams), (gcd(waves(streams), streams), len(phases)))

    def test_slow_enough(self) -> None:
        """A thousand streams are started in a third of a second at least."""
        self.assertTrue(waves(1000) * 0.02 > 1 / 3)


class MiddleTests(SynchronousTestCase):
    """Several runs."""

    def test_median(self) -> None:
        """A run that was disturbed does not count."""
        middle = Middle.of([_paced(10, 1.0), _paced(90, 40.0), _paced(12, 1.2)])
        self.assertEqual((10.0, 1.2, None), (middle.cpu, middle.p99, middle.drift))

    def test_ratio(self) -> None:
        """A row has the ratio to the floor, if that ran too."""
        middle, floor = Middle.of([_paced(12, 1.0)]), Middle.of([_paced(8, 1.0)])
        self.assertEqual(["12.0", "1.50"], middle.cells(floor)[:2])
        self.assertEqual(["12.0", ""], middle.cells(None)[:2])
