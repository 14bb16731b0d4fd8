"""Runs as they were seen."""

import random

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.calibration.known import KNOWN, Server, poisson, scheduler, sizes, sparse
from vllmsim.calibration.coefficients import solve
from vllmsim.calibration.measured import Run
from vllmsim.calibration.observation import Observation, outside_of


def late(run: Run, most: float, seed: int = 1) -> Run:
    """Have a client see every token a bit later than it came."""
    generator = random.Random(seed)
    requests = []
    for each in run.requests:
        times = sorted(time + generator.uniform(0, most) for time in each.times)
        requests.append(evolve(each, first=times[0], last=times[-1], times=tuple(times)))
    return Run(run.title, tuple(requests))


class ObservationTests(SynchronousTestCase):
    """Steps are those of the server."""

    def test_exact(self) -> None:
        """Without noise every step takes what it took."""
        run = Server(sizes(30, 1)).at(poisson(30, 6.0, 1))
        observation = Observation(run)
        rows = observation.rows(observation.play(scheduler))
        self.assertGreater(len(rows), 300)
        for row in rows:
            self.assertAlmostEqual(row.seconds, sum(a * b for a, b in zip(KNOWN.values, row.parts, strict=True)))

    def test_missed(self) -> None:
        """Requests that missed a step on their way to the engine are not taken to have been in it."""
        run = late(Server(sizes(40, 2), way=0.005).at(poisson(40, 6.0, 2)), 0.0005)
        observation = Observation(run)
        played = observation.play(scheduler)
        self.assertTrue(any(played.delays))
        values = solve(observation.rows(played)).values
        for value, right in zip(values[:3], KNOWN.values, strict=False):
            self.assertLess(abs(value / right - 1), 0.05)

    def test_sparse(self) -> None:
        """Where only first and last tokens were seen, the others are taken to have come evenly between them."""
        run = sparse(Server(sizes(30, 3)).at_a_time(6))
        observation = Observation(run)
        self.assertFalse(observation.exact)
        played = observation.play(scheduler)
        self.assertLess(abs(played.steps[-1].end - max(each.end for each in run.requests)), 0.05)

    def test_some_sparse(self) -> None:
        """Requests whose tokens came several at a time say nothing of steps, and the others do."""
        run = Server(sizes(30, 1)).at_a_time(6)
        requests = [evolve(each, times=()) if number % 5 == 0 else each for number, each in enumerate(run.requests)]
        observation = Observation(Run("", tuple(requests)))
        rows = observation.rows(observation.play(scheduler))
        for value, right in zip(solve(rows).values, KNOWN.values, strict=False):
            self.assertLess(abs(value / right - 1), 0.01)


class OutsideTests(SynchronousTestCase):
    """How long requests take to the engine."""

    def outside(self, way: float) -> tuple[float, float]:
        """Measure a server that is so far away."""
        run = Server(sizes(60, 4), way=way).at(poisson(60, 8.0, 4))
        return outside_of([Observation(run).play(scheduler)])

    def test_way(self) -> None:
        """It is found from the steps that they missed."""
        low, high = self.outside(0.006)
        self.assertLess(low, 0.0065)
        self.assertGreater(high, 0.005)
        self.assertLess(high, 0.008)

    def test_none(self) -> None:
        """Without a way none is found."""
        self.assertEqual(0.0, self.outside(0.0)[0])
