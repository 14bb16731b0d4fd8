# -*- test-case-name: tests.calibration.test_regression -*-
"""Least squares with few unknowns, none of which may be negative.

Rows are added up to the normal equations, so that a million of them take no memory. With so few unknowns all subsets
of them can be tried: of those whose solution has no negative value, the best is the solution of the whole.
"""

from collections.abc import Sequence
from itertools import combinations
from math import sqrt
from typing import Final

from attrs import define, field, frozen

_SINGULAR: Final = 1e-10
"""The pivot, as a part of what was there before elimination, under which a column says nothing new."""


@frozen
class Solution:
    """What fits best.

    :param values: of the unknowns; 0 for those that the rows do not tell.
    :param errors: their standard errors; 0 where the value is 0.
    """

    values: tuple[float, ...]
    errors: tuple[float, ...]


@define(eq=False)
class Regression:
    """Adds rows up.

    :param unknowns: how many there are.
    """

    unknowns: int
    rows: int = field(init=False, default=0)
    _matrix: list[list[float]] = field(init=False)
    _right: list[float] = field(init=False)
    _square: float = field(init=False, default=0.0)

    def __attrs_post_init__(self) -> None:
        self._matrix = [[0.0] * self.unknowns for _ in range(self.unknowns)]
        self._right = [0.0] * self.unknowns

    def add(self, row: Sequence[float], value: float, weight: float) -> None:
        """Learn that the row's product with the unknowns should be a value.

        :param weight: of the squared difference.
        """
        self.rows += 1
        self._square += weight * value * value
        for i, left in enumerate(row):
            if left:
                weighted = weight * left
                self._right[i] += weighted * value
                line = self._matrix[i]
                for j, right in enumerate(row):
                    line[j] += weighted * right

    def solve(self) -> Solution:
        """Find what fits best."""
        best = self._square
        result: tuple[tuple[int, ...], list[float], list[list[float]]] = ((), [], [])
        for size in range(1, self.unknowns + 1):
            for subset in combinations(range(self.unknowns), size):
                inverse = _inverse([[self._matrix[i][j] for j in subset] for i in subset])
                if inverse is None:
                    continue
                right = [self._right[i] for i in subset]
                values = [sum(a * b for a, b in zip(line, right, strict=True)) for line in inverse]
                rest = self._square - sum(a * b for a, b in zip(values, right, strict=True))
                if min(values) >= 0 and rest < best:
                    best, result = rest, (subset, values, inverse)
        return self._solution(max(0.0, best), *result)

    def _solution(
        self, rest: float, subset: Sequence[int], values: Sequence[float], inverse: Sequence[Sequence[float]]
    ) -> Solution:
        all_values, errors = [0.0] * self.unknowns, [0.0] * self.unknowns
        variance = rest / max(1, self.rows - len(subset))
        for place, index in enumerate(subset):
            all_values[index] = values[place]
            errors[index] = sqrt(max(0.0, variance * inverse[place][place]))
        return Solution(tuple(all_values), tuple(errors))


def _inverse(matrix: Sequence[Sequence[float]]) -> list[list[float]] | None:
    """Invert a symmetric matrix by elimination, each column on a scale of its own; None if that cannot be done."""
    size = len(matrix)
    scales = [sqrt(matrix[i][i]) for i in range(size)]
    if not all(scales):
        return None
    lines = [
        [matrix[i][j] / scales[i] / scales[j] for j in range(size)] + [float(i == j) for j in range(size)]
        for i in range(size)
    ]
    for column in range(size):
        pivot = max(range(column, size), key=lambda i: abs(lines[i][column]))
        if abs(lines[pivot][column]) < _SINGULAR:
            return None
        lines[column], lines[pivot] = lines[pivot], lines[column]
        lines[column] = [each / lines[column][column] for each in lines[column]]
        for i in range(size):
            if i != column and lines[i][column]:
                factor = lines[i][column]
                lines[i] = [a - factor * b for a, b in zip(lines[i], lines[column], strict=True)]
    return [[lines[i][size + j] / scales[i] / scales[j] for j in range(size)] for i in range(size)]
