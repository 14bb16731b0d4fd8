# -*- test-case-name: tests.calibration.test_coefficients -*-
"""The coefficients of a linear step time, and what was measured that tells them."""

from collections.abc import Sequence
from statistics import median
from typing import Final

from attrs import astuple, frozen

from vllmsim.regression import Regression, Solution
from vllmsim.steps import StepWork

_REWEIGHTED: Final = 5
_OUTLIER: Final = 0.3
"""A relative error from which on it counts less: something else has happened there."""

Parts = tuple[float, float, float, float]
"""What each coefficient is multiplied with."""
NOTHING: Final[Parts] = (0.0, 0.0, 0.0, 0.0)


@frozen
class Coefficients:
    """What a step takes, in seconds; see :class:`vllmsim.steptime.linear.LinearStepTime`."""

    constant: float = 0.0
    per_prefill_token: float = 0.0
    per_decode_sequence: float = 0.0
    per_cached_token: float = 0.0

    @property
    def values(self) -> Parts:
        """All of them, in their order."""
        return astuple(self)


def parts_of(work: StepWork) -> Parts:
    """Tell what a step's work multiplies the coefficients with."""
    return (1.0, float(work.prefill_tokens + work.draft_tokens), float(work.decodes), float(work.read))


def add(a: Parts, b: Parts, times: float = 1.0) -> Parts:
    """Add up what several steps take; what one takes `times` times."""
    return (a[0] + times * b[0], a[1] + times * b[1], a[2] + times * b[2], a[3] + times * b[3])


@frozen
class Row:
    """Something that was measured.

    :param parts: of the work that it took, all together.
    :param seconds: how long it was.
    :param outside: how many times a request's way to the engine and back is in it.
    """

    parts: Parts
    seconds: float
    outside: float = 0.0


def solve(rows: Sequence[Row]) -> Solution:
    """Find the coefficients whose relative errors are least; what is far off counts less.

    :return: the coefficients, and behind them the seconds of a request's way.
    """
    regression = Regression(5)
    usual = median(row.seconds for row in rows) if rows else 0.0
    for row in rows:
        # What is measured is at times nearly nothing; what is expected is not.
        regression.add((*row.parts, row.outside), row.seconds, 1 / max(row.seconds, usual) ** 2)
    solution = regression.solve()
    for _ in range(_REWEIGHTED):
        values, regression = solution.values, Regression(5)
        for row in rows:
            unknowns = (*row.parts, row.outside)
            expected = sum(a * b for a, b in zip(unknowns, values, strict=True)) or row.seconds
            off = abs(row.seconds - expected) / expected
            regression.add(unknowns, row.seconds, (1.0 if off < _OUTLIER else _OUTLIER / off) / expected**2)
        solution = regression.solve()
    return solution
