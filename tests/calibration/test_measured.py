"""Runs, and when their requests come."""

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.calibration.known import Server, poisson, sizes
from vllmsim.calibration.measured import Arrival, Measured, Run, in_order


class MeasuredTests(SynchronousTestCase):
    """One request."""

    def test_gap(self) -> None:
        """The gap of a request is the mean of all its gaps; with one token it has none."""
        self.assertAlmostEqual(0.02, Measured(5.0, 10, 4, 0.1, 0.16).gap)
        self.assertEqual(0.0, Measured(5.0, 10, 1, 0.1, 0.1).gap)
        self.assertAlmostEqual(5.16, Measured(5.0, 10, 4, 0.1, 0.16).end)


class RunTests(SynchronousTestCase):
    """Several."""

    def test_order(self) -> None:
        """Requests are in the order in which they were sent, without those that cannot have been."""
        late, early = Measured(2.0, 1, 1, 0.1, 0.1), Measured(1.0, 1, 2, 0.1, 0.2)
        backwards = Measured(3.0, 1, 2, 0.3, 0.2)
        self.assertEqual(Run("r", (early, late), 4), in_order("r", [late, None, early, backwards], 2))

    def test_concurrency(self) -> None:
        """Requests run at a time from when they are sent to their last token."""
        one = Measured(0.0, 1, 1, 1.0, 1.0)
        self.assertEqual(1, Run("", (one, evolve(one, start=1.0))).concurrency)
        self.assertEqual(2, Run("", (one, evolve(one, start=0.9), evolve(one, start=1.0))).concurrency)

    def test_behind(self) -> None:
        """Of a client that keeps four running, every request but the first four comes behind the end of another."""
        run = Server(sizes(20, 1)).at_a_time(4, 0.002)
        arrivals = run.arrivals()
        self.assertEqual([Arrival(None, 0.0)] * 4, arrivals[:4])
        self.assertEqual(16, len({each.behind for each in arrivals[4:]} - {None}))
        for each in arrivals[4:]:
            self.assertAlmostEqual(0.002, each.seconds)

    def test_at_times(self) -> None:
        """Requests that were sent at random come at their own times, from the first on."""
        run = Server(sizes(30, 1)).at(poisson(30, 5.0, 1))
        starts = [each.start for each in run.requests]
        self.assertEqual([Arrival(None, start - starts[0]) for start in starts], run.arrivals())

    def test_at_once(self) -> None:
        """Requests that were all sent at once come at once."""
        self.assertEqual([Arrival(None, 0.0)] * 9, Server(sizes(9, 1)).at([0.0] * 9).arrivals())
