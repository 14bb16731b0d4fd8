# -*- test-case-name: tests.calibration.test_accuracy -*-
"""How well a simulated run is like the measured one."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from attrs import frozen

from vllmsim.calibration.measured import Measured

QUANTITIES: Final[tuple[tuple[str, Callable[[Measured], float]], ...]] = (
    ("TTFT", lambda each: each.first),
    ("ITL", lambda each: each.gap),
    ("E2E", lambda each: each.last),
)
"""What is compared, request by request: time to first token, mean time between tokens, and time to the last one."""


@frozen
class Spread:
    """Some durations, in seconds."""

    mean: float
    p50: float
    p99: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Measure at least one value."""
        ordered = sorted(values)
        last = len(ordered) - 1
        return cls(sum(ordered) / len(ordered), ordered[round(last * 0.5)], ordered[round(last * 0.99)])


@frozen
class Agreement:
    """One quantity, over all requests that have it.

    :param name: of the quantity.
    :param mape: the mean of the absolute differences, each as a part of the measured value.
    """

    name: str
    measured: Spread
    simulated: Spread
    mape: float


def compare(pairs: Sequence[tuple[Measured, Measured]]) -> list[Agreement]:
    """Compare requests.

    :param pairs: of what was measured and what was simulated.
    :return: a row for each quantity that at least one request has: where all answers have one token, no gap.
    """
    result = []
    for name, quantity in QUANTITIES:
        values = [(quantity(measured), quantity(simulated)) for measured, simulated in pairs]
        values = [(measured, simulated) for measured, simulated in values if measured > 0]
        if values:
            mape = sum(abs(simulated - measured) / measured for measured, simulated in values) / len(values)
            before, after = zip(*values, strict=True)
            result.append(Agreement(name, Spread.of(before), Spread.of(after), mape))
    return result


def score(agreements: Sequence[Agreement]) -> float:
    """Say in one number how far a simulation is from what was measured."""
    return sum(each.mape for each in agreements) / len(agreements)
