"""Playing a run again."""

import random

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.calibration.known import Server, known, poisson, scheduler, sizes
from vllmsim.calibration.measured import Run
from vllmsim.calibration.replay import NoRoom, Played, Replay


def replayed(run: Run, way: float = 0.0, *words: str) -> Played:
    """Play a run with the step time that is known."""
    delays = [way] * len(run.requests)
    engine = scheduler(*words)
    return Replay(run, engine, lambda start, work, _: start + known(work), run.arrivals(), delays).play()


class ReplayTests(SynchronousTestCase):
    """With the step time of the server every request has the times that were measured."""

    def compare(self, run: Run, way: float = 0.0) -> None:
        """Play a run, and compare it."""
        played = replayed(run, way)
        for seen, again in zip(run.requests, played.measured(run), strict=True):
            self.assertAlmostEqual(seen.start - run.requests[0].start, again.start)
            self.assertAlmostEqual(seen.first, again.first)
            self.assertAlmostEqual(seen.last, again.last)

    def test_at_times(self) -> None:
        """So it is when requests come at times of their own, some of them when there is nothing else to do."""
        self.compare(Server(sizes(30, 3)).at(poisson(30, 4.0, 3)))

    def test_behind(self) -> None:
        """So it is when they come behind the ends of others."""
        self.compare(Server(sizes(30, 4)).at_a_time(6))

    def test_way(self) -> None:
        """So it is when they take some time to the engine."""
        self.compare(Server(sizes(30, 5), way=0.004).at(poisson(30, 4.0, 5)), 0.004)
        self.compare(Server(sizes(30, 6), way=0.004).at_a_time(6), 0.004)

    def test_together(self) -> None:
        """Those who come at the same time keep their order, behind whomever they come."""
        generator = random.Random(0)
        run = Server([(generator.randint(100, 900), generator.randint(4, 40)) for _ in range(400)]).at_a_time(64)
        # Coefficients that were found are right to some digits, not to all.
        played = Replay(
            run, scheduler(), lambda start, work, _: start + known(work) * (1 + 1e-12), run.arrivals(), [0] * 400
        )
        for seen, again in zip(run.requests, played.play().measured(run), strict=True):
            self.assertAlmostEqual(seen.last, again.last)

    def test_steps(self) -> None:
        """Steps follow each other while there is something to compute, and say which tokens they gave."""
        run = Server([(100, 3), (10, 2)]).at([0.0, 1.0])
        played = replayed(run)
        self.assertEqual([False, True, True, False, True], [step.follows for step in played.steps])
        self.assertEqual([[(0, 0)], [(0, 1)], [(0, 2)], [(1, 0)], [(1, 1)]], [step.emitted for step in played.steps])
        self.assertEqual(([0, 3], [0, 3], [2, 4]), (played.begun, played.first, played.last))
        self.assertEqual(1.0, played.steps[3].start)

    def test_preemptions(self) -> None:
        """Requests that lose their blocks are counted, and computed again."""
        run = Server([(40, 60)] * 3).at([0.0] * 3)
        words = ("--max-model-len=100", "--kv-cache-size=13", "--max-num-seqs=3")
        played = replayed(run, 0.0, *words)
        self.assertGreater(played.preemptions, 0)
        self.assertGreater(played.measured(run)[2].last, run.requests[2].last)

    def test_no_room(self) -> None:
        """A request that has no room in the KV cache is a problem, and no endless loop."""
        run = Server([(40, 60)]).at([0.0])
        large = Run("", (evolve(run.requests[0], prompt_tokens=500),))
        with self.assertRaises(NoRoom):
            replayed(large, 0.0, "--max-model-len=100", "--kv-cache-size=8")
