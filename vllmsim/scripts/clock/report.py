# -*- test-case-name: tests.scripts.clock.test_report -*-
"""What ``vllmsim bench clock`` prints: a table for people, or JSON for programs."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from attrs import asdict, frozen

from vllmsim.scripts.clock.lateness import Asked, Delivered, Spread, milliseconds, verdict

_COLUMNS: Final = ("mean", "p50", "p90", "p99", "max")
_MOST_FAULTS: Final = 3


@frozen
class Reading:
    """How the client read what came.

    :param stamped: whether the kernel told when each token arrived.
    :param delay: how much later the client read it; None if the kernel did not tell.
    :param together: how many tokens have the time of a later one, because they were read together.
    """

    stamped: bool
    delay: Spread | None
    together: int


@frozen
class Report:
    """Everything about one measurement.

    :param machine: where it was made.
    :param over: seconds over which the streams began.
    :param faults: what became of the streams that were lost.
    """

    machine: str
    asked: Asked
    over: float
    delivered: Delivered
    reading: Reading
    faults: Sequence[str] = ()

    @property
    def verdict(self) -> str:
        """What it comes to."""
        return verdict(self.asked, self.delivered)

    def text(self) -> str:
        """Write the table."""
        return "".join(f"{line}\n" for line in self._lines())

    def json(self) -> str:
        """Write JSON; times are in milliseconds, and null where there are none."""
        delivered, asked = self.delivered, self.asked
        value: dict[str, Any] = {
            "machine": self.machine,
            "asked": {
                "streams": asked.streams,
                "tokens_per_stream": asked.tokens,
                "tokens": asked.streams * asked.tokens,
                "time_to_first_token_ms": asked.first * 1000,
                "inter_token_latency_ms": asked.gap * 1000,
                "tokens_per_second": asked.rate,
                "varies": asked.varies or None,
            },
            "delivered": {
                "tokens": delivered.tokens,
                "tokens_lost": delivered.lost,
                "tokens_per_second": delivered.rate,
                "time_to_first_token_ms": _numbers(delivered.first),
                "inter_token_latency_ms": _numbers(delivered.gap),
                "lateness_ms": _numbers(delivered.late),
                "drift_ms": _numbers(delivered.drift),
            },
            "client": {
                "kernel_time_stamps": self.reading.stamped,
                "read_later_ms": _numbers(self.reading.delay),
                "tokens_read_together": self.reading.together,
            },
            "faults": list(self.faults),
            "verdict": self.verdict,
        }
        return json.dumps(value, indent=2) + "\n"

    def _lines(self) -> Iterator[str]:
        asked, delivered = self.asked, self.delivered
        yield f"{asked.title} of {asked.tokens} tokens, begun over {self.over:.1f} s, on {self.machine}"
        yield ""
        yield f"{'milliseconds':24}{'asked':>10}" + "".join(f"{column:>10}" for column in _COLUMNS)
        yield _row("time to first token", f"{asked.first * 1000:.2f}", delivered.first)
        yield _row("inter-token latency", f"{asked.gap * 1000:.2f}", delivered.gap)
        yield _row("behind its deadline", "0.00", delivered.late)
        yield _row("drift, first to last", "0.00", delivered.drift)
        yield ""
        yield f"{'tokens':24}{asked.streams * asked.tokens:10}   {delivered.tokens} delivered, {delivered.lost} lost"
        rate = "-" if asked.rate is None else f"{asked.rate:.1f}"
        yield f"{'tokens/s':24}{rate:>10}   {delivered.rate:.1f} delivered"
        yield ""
        yield from self._about_client()
        if asked.varies:
            yield f"No token has a deadline here, because {asked.varies}."
        for fault, count in Counter(self.faults).most_common(_MOST_FAULTS):
            yield f"{count} stream{'s were' if count > 1 else ' was'} lost: {fault}"
        yield self.verdict

    def _about_client(self) -> Iterator[str]:
        delay = self.reading.delay
        if not self.reading.stamped or delay is None:
            yield "Times are the client's own, its lateness included: this kernel does not stamp what arrives."
        else:
            parts = (("50 %", delay.p50), ("99 %", delay.p99), ("all", delay.most))
            within = ", ".join(f"{share} within {milliseconds(seconds)}" for share, seconds in parts)
            yield f"Times are the kernel's. The client read later, which counts for nothing: {within}."
        if self.reading.together:
            yield f"{self.reading.together} tokens were read together with a later one, and have its time."


def _numbers(spread: Spread | None) -> dict[str, float] | None:
    if spread is None:
        return None
    return {("max" if name == "most" else name): value * 1000 for name, value in asdict(spread).items()}


def _row(name: str, asked: str, spread: Spread | None) -> str:
    if spread is None:
        return f"{name:24}{asked:>10}" + f"{'-':>10}" * len(_COLUMNS)
    values = (spread.mean, spread.p50, spread.p90, spread.p99, spread.most)
    return f"{name:24}{asked:>10}" + "".join(f"{value * 1000:10.2f}" for value in values)
