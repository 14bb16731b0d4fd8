"""Coefficients are found again, and a run that was not seen is foretold with them."""

import random
from collections.abc import Callable
from functools import partial

from twisted.trial.unittest import SynchronousTestCase

from tests.calibration.known import KNOWN, Server, known, poisson, scheduler, sizes, sparse
from vllmsim.calibration.coefficients import Coefficients
from vllmsim.calibration.fit import Fit, Fitting, Simulated, rows_of_requests, simulate
from vllmsim.calibration.measured import Run
from vllmsim.steps import StepWork


def uneven() -> Callable[[StepWork], float]:
    """Have steps take a bit more or less than they should."""
    generator = random.Random(5)
    return lambda work: known(work) * generator.uniform(0.97, 1.03)


class FitTests(SynchronousTestCase):
    """Servers whose step time is known."""

    def fit(self, *runs: Run) -> Fit:
        """Fit runs."""
        return Fitting(runs, scheduler).fit()

    def require(self, run: Run, fit: Fit, most: float) -> Simulated:
        """Have a run be foretold well enough in all that is compared."""
        simulated = simulate(run, scheduler(), fit.coefficients, fit.outside)
        self.assertEqual(3, len(simulated.agreements))
        for each in simulated.agreements:
            self.assertLess(each.mape, most, f"{each.name} of {run.title}")
        return simulated

    def test_known(self) -> None:
        """From one run the coefficients of a known step time are found, and others are foretold to the microsecond."""
        fitted = Server(sizes(60, 1)).at_a_time(8)
        fit = self.fit(fitted)
        for value, right in zip(fit.coefficients.values, KNOWN.values, strict=True):
            self.assertLess(abs(value / right - 1), 1e-4)
        self.require(fitted, fit, 1e-5)
        self.require(Server(sizes(60, 2)).at_a_time(40), fit, 1e-5)
        self.require(Server(sizes(60, 3)).at(poisson(60, 5.0, 3)), fit, 1e-5)

    def test_first_and_last(self) -> None:
        """The times of first and last tokens are enough for a run that is not seen to be less than 5 % off."""
        fitted = sparse(Server(sizes(60, 1)).at_a_time(8))
        fit = self.fit(fitted)
        self.require(fitted, fit, 0.001)
        self.require(Server(sizes(60, 2)).at_a_time(16), fit, 0.05)

    def test_first_and_last_of_a_crowd(self) -> None:
        """They are enough too when requests come at once, or more quickly than they can be answered."""
        for starts in ([0.0] * 60, poisson(60, 20.0, 1)):
            fitted = sparse(Server(sizes(60, 1)).at(starts))
            self.require(fitted, self.fit(fitted), 0.05)

    def test_uneven(self) -> None:
        """Steps that take a bit more or less than they should change nothing of that."""
        fitted = Server(sizes(80, 1), uneven()).at_a_time(8)
        fit = self.fit(fitted)
        self.require(fitted, fit, 0.05)
        self.require(Server(sizes(80, 2), uneven()).at_a_time(16), fit, 0.05)

    def test_away(self) -> None:
        """The time of requests on their way is told apart from that of steps."""
        fitted = Server(sizes(80, 1), way=0.005).at(poisson(80, 5.0, 1))
        fit = self.fit(fitted)
        self.assertLess(abs(fit.outside - 0.005), 0.002)
        self.require(fitted, fit, 0.05)
        self.require(Server(sizes(80, 2), way=0.005).at(poisson(80, 8.0, 2)), fit, 0.05)

    def test_away_and_alone(self) -> None:
        """So it is where hardly any request meets another."""
        fitted = Server(sizes(40, 1), uneven(), way=0.005).at(poisson(40, 0.5, 1))
        fit = self.fit(fitted)
        self.assertLess(abs(fit.outside - 0.005), 0.003)
        self.require(fitted, fit, 0.05)

    def test_slow_start(self) -> None:
        """A server that is slow at first, as many are, is not taken to be far away."""
        late = [1.0]
        run = Server(sizes(40, 1), lambda work: known(work) + (late.pop() if late else 0.0)).at_a_time(8)
        fit = self.fit(run)
        self.assertLess(fit.outside, 0.001)
        for value, right in zip(fit.coefficients.values, KNOWN.values, strict=True):
            self.assertLess(abs(value / right - 1), 0.01)

    def test_engines(self) -> None:
        """It matters not how the engine makes its steps, as long as it is known."""
        for words in (
            ("--max-num-batched-tokens=256",),
            ("--max-num-seqs=4",),
            ("--long-prefill-token-threshold=200",),
            ("--no-enable-chunked-prefill", "--max-num-batched-tokens=4096"),
            ("--kv-cache-size=100", "--max-model-len=1000"),
        ):
            run = Server(sizes(30, 1), words=words).at_a_time(8)
            fit = Fitting([run], partial(scheduler, *words)).fit()
            for value, right in zip(fit.coefficients.values, KNOWN.values, strict=True):
                self.assertLess(abs(value / right - 1), 1e-4, words)

    def test_several(self) -> None:
        """Several runs are fitted together: the coefficients are those that do best for all of them."""
        quick = Server(sizes(20, 1), lambda work: known(work) * 0.9).at_a_time(4)
        slow = Server(sizes(20, 1), lambda work: known(work) * 1.1).at_a_time(4)
        alone, both = self.fit(slow).coefficients.constant, self.fit(quick, slow).coefficients.constant
        self.assertLess(abs(alone / KNOWN.constant - 1.1), 0.001)
        self.assertLess(abs(both / KNOWN.constant - 1.0), 0.05)

    def test_rows(self) -> None:
        """What requests wait for is the sum of steps, and of the rest of the one that runs when they come."""
        run = Server(sizes(30, 1), way=0.004).at(poisson(30, 8.0, 1))
        played = simulate(run, scheduler(), KNOWN, 0.004).played
        rows = rows_of_requests(run, played)
        self.assertEqual(60, len(rows))
        for row in rows:
            self.assertAlmostEqual(row.seconds, sum(a * b for a, b in zip(KNOWN.values, row.parts, strict=True)))

    def test_of_both_kinds(self) -> None:
        """Runs with the time of every token, and runs without, are fitted together."""
        exact, other = Server(sizes(30, 1)).at_a_time(4), sparse(Server(sizes(30, 2)).at_a_time(12))
        fit = self.fit(exact, other)
        for run in (exact, other):
            self.require(run, fit, 0.01)

    def test_told(self) -> None:
        """What goes on is told, and how far off it is."""
        told: list[str] = []
        fit = Fitting([Server(sizes(10, 1)).at_a_time(2)], scheduler, told.append).fit()
        self.assertEqual(["reading the steps of known", "round 1: 0.00% off, at best 0.00%"], told)
        self.assertEqual(1, fit.rounds)

    def test_wrong(self) -> None:
        """Wrong coefficients are seen to be wrong."""
        run = Server(sizes(20, 1)).at_a_time(4)
        wrong = Coefficients(KNOWN.constant * 1.5, *KNOWN.values[1:])
        errors = [each.mape for each in simulate(run, scheduler(), wrong, 0.0).agreements]
        self.assertGreater(min(errors), 0.05)
