# -*- test-case-name: tests.scripts.clock.test_lateness -*-
"""What asked and delivered times have to do with each other. Pure: every time is a number of seconds.

Token k of a stream has a deadline: its request's time, the time to first token, and k gaps. It is as late as it comes
after that, whatever became of the tokens before it. Where latencies are drawn at random there are no deadlines that a
client could know, and only means are compared.
"""

from collections.abc import Sequence
from typing import Final

from attrs import frozen

_FAIR_SHARE: Final = 0.25
_LEAST: Final = 0.001
"""A machine keeps a pace if 99 % of tokens are late by less than this share of a gap, or less than so many seconds."""


@frozen
class Asked:
    """What the daemon was asked to do.

    :param streams: how many at the same time.
    :param tokens: of each.
    :param first: mean seconds to the first token.
    :param gap: mean seconds from token to token.
    :param varies: why single times differ from these; empty if they do not.
    """

    streams: int
    tokens: int
    first: float
    gap: float
    varies: str = ""

    @property
    def title(self) -> str:
        """How many streams, in words."""
        return f"{self.streams} stream{'s' if self.streams > 1 else ''}"

    @property
    def rate(self) -> float | None:
        """Tokens per second while all streams run; None for as many as there can be."""
        return self.streams / self.gap if self.gap else None


@frozen
class Run:
    """One stream as it was.

    :param sent: when its request was sent, in seconds.
    :param arrivals: when each token arrived, in order.
    """

    sent: float
    arrivals: Sequence[float]


@frozen
class Spread:
    """How some seconds are distributed."""

    mean: float
    p50: float
    p90: float
    p99: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread | None":
        """Look at all values.

        :return: None if there are none.
        """
        if not values:
            return None
        ordered = sorted(values)
        last = len(ordered) - 1

        def share(hundredths: int) -> float:
            # The least value that so many of a hundred are not above.
            return ordered[min(last, -(-len(ordered) * hundredths // 100) - 1)]

        return cls(sum(ordered) / len(ordered), share(50), share(90), share(99), ordered[-1])


@frozen
class Delivered:
    """What came of it.

    :param first: times to first token.
    :param gap: times from token to token.
    :param late: how long after their deadlines tokens came; None if there are no deadlines.
    :param drift: how much later, against its deadline, each stream's last token is than its first; likewise.
    :param tokens: how many came.
    :param lost: how many did not.
    :param rate: tokens per second while all streams run.
    """

    first: Spread | None
    gap: Spread | None
    late: Spread | None
    drift: Spread | None
    tokens: int
    lost: int
    rate: float


def _rate(asked: Asked, runs: Sequence[Run]) -> float:
    if asked.gap:
        times = [(len(run.arrivals) - 1, run.arrivals[-1] - run.arrivals[0]) for run in runs if len(run.arrivals) > 1]
        return sum(gaps / seconds for gaps, seconds in times if seconds)
    came = [run for run in runs if run.arrivals]
    if not came:
        return 0.0
    seconds = max(run.arrivals[-1] for run in came) - min(run.sent for run in came)
    return sum(len(run.arrivals) for run in came) / seconds


def compare(asked: Asked, runs: Sequence[Run]) -> Delivered:
    """Hold what came against what was asked."""
    first = [run.arrivals[0] - run.sent for run in runs if run.arrivals]
    gaps = [after - before for run in runs for before, after in zip(run.arrivals, run.arrivals[1:], strict=False)]
    late: list[float] = []
    drift: list[float] = []
    for run in () if asked.varies else runs:
        due = run.sent + asked.first
        of_run = [arrival - due - token * asked.gap for token, arrival in enumerate(run.arrivals)]
        late += of_run
        drift += [of_run[-1] - of_run[0]] if of_run else []
    tokens = sum(len(run.arrivals) for run in runs)
    return Delivered(
        first=Spread.of(first),
        gap=Spread.of(gaps),
        late=Spread.of(late),
        drift=Spread.of(drift),
        tokens=tokens,
        lost=asked.streams * asked.tokens - tokens,
        rate=_rate(asked, runs),
    )


def milliseconds(seconds: float) -> str:
    """Write a time with two digits, or all that are before the point."""
    value = seconds * 1000
    return f"{value:.0f} ms" if abs(value) >= 10 else f"{value:.2g} ms"  # noqa: PLR2004 - two digits


def verdict(asked: Asked, delivered: Delivered) -> str:
    """Say in a sentence whether the machine can be trusted with this load."""
    streams = asked.title
    if delivered.lost:
        return f"This machine lost {delivered.lost} of {asked.streams * asked.tokens} tokens at {streams}."
    assert delivered.first is not None
    assert delivered.gap is not None
    if asked.varies:
        first, gap = delivered.first.mean - asked.first, delivered.gap.mean - asked.gap
        return (
            f"At {streams} the mean time to first token is {_more(first)} than asked, and the mean gap {_more(gap)}; "
            f"single times cannot be judged, because {asked.varies}."
        )
    if not asked.gap:
        return f"This machine delivers {delivered.rate:.0f} tokens/s at {streams} when no time is asked between them."
    assert delivered.late is not None
    assert delivered.drift is not None
    within, gaps = milliseconds(delivered.late.p99), f"{milliseconds(asked.gap)} gaps at {streams}"
    if delivered.drift.p50 > max(asked.gap, _LEAST):
        lag = milliseconds(delivered.drift.p50)
        return f"This machine cannot keep {gaps}: from first to last token a stream falls {lag} behind."
    if delivered.late.p99 > max(asked.gap * _FAIR_SHARE, _LEAST):
        return f"This machine keeps the pace of {gaps}, but 1 % of tokens come more than {within} late."
    return f"This machine holds {gaps} within {within} for 99 % of tokens."


def _more(seconds: float) -> str:
    return f"{milliseconds(abs(seconds))} {'longer' if seconds >= 0 else 'shorter'}"
