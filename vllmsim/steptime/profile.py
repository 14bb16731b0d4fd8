# -*- test-case-name: tests.steptime.test_profile -*-
"""How long a step takes, from steps that were measured.

First a sum is fitted to all of them by least squares: a constant, and something for each token of a prompt, each
sequence that decodes, and each token that is read, none of them negative. It says what is far from everything that was
measured. Then what the nearest steps took more or less than that is added, the more of it the nearer they are. That is
Shepard's method, as Franke and Little have it, which is continuous. So what was measured takes what it took, and what
follows the sum follows it.

How near a step is counts in doublings: from 1 sequence to 2 is as far as from 100 to 200.
"""

import math
import random
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Final

from attrs import frozen
from zope.interface import implementer

from vllmsim.interfaces import IStepTime
from vllmsim.regression import Regression
from vllmsim.steps import StepWork

_NEAR: Final = 8
_SAME: Final = 1e-9

Point = tuple[float, float, float]


@implementer(IStepTime)
@frozen
class ProfiledStepTime:
    """Interpolates.

    :param coefficients: of the sum: the constant, and of a prompt's token, a sequence and a token that is read.
    :param points: where steps were measured.
    :param residuals: what each took more than the sum, in seconds.
    """

    coefficients: Sequence[float]
    points: Sequence[Point]
    residuals: Sequence[float]

    @classmethod
    def of(cls, steps: Iterable[tuple[int, int, int, float]]) -> "ProfiledStepTime":
        """Fit and interpolate steps.

        :param steps: for each the tokens of prompts, the sequences that decode, the tokens that are read, and the
            seconds; at least one. Of equal steps the mean counts.
        """
        measured: dict[tuple[int, int, int], list[float]] = {}
        for prefill, decodes, read, seconds in steps:
            measured.setdefault((prefill, decodes, read), []).append(seconds)
        means = {work: math.fsum(times) / len(times) for work, times in measured.items()}
        regression = Regression(4)
        for work, mean in means.items():
            regression.add((1.0, *work), mean, 1.0)
        coefficients = regression.solve().values
        residuals = [mean - _sum(coefficients, work) for work, mean in means.items()]
        return cls(coefficients, [_place(*work) for work in means], residuals)

    def seconds(self, work: StepWork, generator: random.Random) -> float:
        """Interpolate; see :class:`vllmsim.interfaces.IStepTime`."""
        given = (work.prefill_tokens + work.draft_tokens, work.decodes, work.read)
        far = list(map(math.dist, self.points, repeat(_place(*given))))
        border = sorted(far)[min(_NEAR, len(far) - 1)]
        near = sorted((at, more) for at, more in zip(far, self.residuals, strict=True) if at <= border)
        return max(0.0, _sum(self.coefficients, given) + _weighted(near[: _NEAR + 1]))


def _place(prefill: int, decodes: int, read: int) -> Point:
    return math.log2(1 + prefill), math.log2(1 + decodes), math.log2(1 + read)


def _sum(coefficients: Sequence[float], work: tuple[int, int, int]) -> float:
    constant, prefill, decodes, read = coefficients
    return constant + work[0] * prefill + work[1] * decodes + work[2] * read


def _weighted(near: Sequence[tuple[float, float]]) -> float:
    """Add up what the nearest took more; the farthest of them, where others begin to count, counts nothing."""
    if near[0][0] < _SAME:
        return near[0][1]
    border = near[-1][0] if len(near) > _NEAR else math.inf
    weights = [(1 / far - 1 / border) ** 2 for far, _ in near]
    whole = math.fsum(weights)
    return math.fsum(w * more for w, (_, more) in zip(weights, near, strict=True)) / whole if whole else near[0][1]
