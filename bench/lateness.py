# -*- test-case-name: tests.bench.test_lateness -*-
"""How late tokens are.

A stream's token *k* arrives at *a(k)*. Its base is the least of all *a(j) - j gap*: the clock that its punctual tokens
keep. The token is due at base + *k* gap, and its lateness is how much later it arrives. So lateness has nothing of the
time that the request took, and one token at least of each stream is not late at all.

Drift is how much later the tokens from the 290th to the 310th are than the 20 first ones of the time in which all
streams run, as medians: a server that waits a gap after each token, instead of until its deadline, drifts.
"""

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Final

from attrs import frozen

EARLY: Final = 20
"""Tokens of each stream that drift is measured from."""
LATE: Final = 290, 310
"""Tokens of each stream that drift is measured at."""


def percentile(ordered: Sequence[float], share: float) -> float:
    """Tell the value below which a share of them is.

    :param ordered: the values, the least one first.
    :param share: from 0 to 1.
    :raises ValueError: if there are none.
    """
    if not ordered:
        raise ValueError("There are no values.")
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@frozen
class Lateness:
    """How late the tokens of a run were, in milliseconds.

    :param drift: None if the streams were too short to tell.
    """

    p50: float
    p99: float
    worst: float
    drift: float | None


def latenesses(arrivals: Sequence[int], gap: int) -> Iterator[int]:
    """Tell how late each token of one stream was.

    :param arrivals: of its tokens, in nanoseconds.
    :param gap: between two of them, in nanoseconds.
    """
    offsets = [arrival - index * gap for index, arrival in enumerate(arrivals)]
    base = min(offsets)
    return (offset - base for offset in offsets)


def summarize(stamps: Sequence[int], tokens: int, gap: int, window: tuple[int, int], first: int) -> Lateness:
    """Tell how late the tokens of all streams were.

    :param stamps: when each token arrived, by stream and token, in nanoseconds.
    :param tokens: of each stream.
    :param gap: between two tokens of a stream, in nanoseconds.
    :param window: tokens that arrived before or after it do not count for the percentiles.
    :param first: the first token of each stream that counts for drift.
    """
    counted: list[int] = []
    early: list[int] = []
    late: list[int] = []
    begin, end = window
    for start in range(0, len(stamps), tokens):
        arrivals = stamps[start : start + tokens]
        late_by = list(latenesses(arrivals, gap))
        counted += [late for late, at in zip(late_by, arrivals, strict=True) if begin <= at < end]
        early += late_by[first : first + EARLY]
        late += late_by[slice(*LATE)]
    counted.sort()
    drift = (median(late) - median(early)) / 1e6 if late and first + EARLY <= LATE[0] else None
    return Lateness(percentile(counted, 0.5) / 1e6, percentile(counted, 0.99) / 1e6, counted[-1] / 1e6, drift)
