# -*- test-case-name: tests.bench.test_paced -*-
"""Streams that have a token every 20 ms: what one costs, how late it is, and how many of them a core carries."""

import contextlib
from collections.abc import Sequence
from math import gcd
from statistics import median
from typing import Final

from attrs import evolve, frozen

from bench import requests
from bench.lateness import LATE, Lateness, summarize
from bench.load import Method, Window, run_paced
from bench.plan import Plan, Result
from bench.servers import Server, bare_twisted, eager_floor, floor, record, vllmsim

ITL: Final = 0.02
"""Seconds between two tokens of a stream."""
_STARTS: Final = 2500.0
"""Streams started in a second, at most: reading requests must not be what keeps the server busy."""
_SETTLE: Final = 0.2
_MAIN: Final = 500
_USUAL: Final = {100: (80, 2), _MAIN: (110, 5), 1000: (90, 2), 2000: (110, 2)}
"""For each number of streams: how many tokens they have, and how often each server has its turn."""
_ENOUGH: Final = 60
_LONG: Final = LATE[1] + 10
"""Tokens of streams that are asked how they drift."""
_LONG_ROUNDS: Final = 2


@frozen
class Paced:
    """How a run went."""

    streams: int
    window: Window
    lateness: Lateness


def waves(streams: int) -> int:
    """Tell over how many gaps streams start, so that their phases are spread evenly over one.

    The *i*-th stream starts *i waves / streams* gaps after the first one. When the two numbers have no common divisor,
    no two streams have one phase.
    """
    count = max(1, round(streams / _STARTS / ITL))
    while gcd(count, streams) > 1:
        count += 1
    return count


def run(server: Server, streams: int, tokens: int, method: Method | None = None) -> Paced:
    """Run streams on a server.

    :param tokens: of each; enough that all run together for a while.
    :param method: what they are calls of, where they are no chat completions.
    :raises ValueError: if they do not.
    """
    ask = requests.chat if method is None else requests.generate
    first = waves(streams) + round(_SETTLE / ITL)
    window = first * ITL, (tokens - 2) * ITL
    if tokens - 2 - first < 10:  # noqa: PLR2004 - a fifth of a second
        raise ValueError(f"{tokens} tokens are too few for {streams} streams: {first + 12} at least.")
    counted, stamps = run_paced(
        server.ports,
        server.pid,
        ask(stream=True, max_tokens=tokens),
        streams=streams,
        tokens=tokens,
        spacing=waves(streams) * ITL / streams,
        window=window,
        method=method,
    )
    begin, end = (round(edge * 1e9) for edge in window)
    return Paced(streams, counted, summarize(stamps, tokens, round(ITL * 1e9), (begin, end), first))


@frozen
class Middle:
    """The medians of some runs, in microseconds, milliseconds and tokens in a second.

    Of what a token costs it is the least: whatever else the machine does adds to that, and nothing takes from it.
    """

    cpu: float
    p50: float
    p99: float
    worst: float
    drift: float | None
    rate: float
    client: float

    @classmethod
    def of(cls, runs: Sequence[Paced]) -> "Middle":
        """Sum runs up."""
        drifts = [run.lateness.drift for run in runs if run.lateness.drift is not None]
        return cls(
            min(run.window.cpu_per_token for run in runs),
            median([run.lateness.p50 for run in runs]),
            median([run.lateness.p99 for run in runs]),
            median([run.lateness.worst for run in runs]),
            median(drifts) if drifts else None,
            median([run.window.tokens_per_second for run in runs]),
            median([run.window.client_share for run in runs]),
        )

    def cells(self, floor: "Middle | None", eager: "Middle | None" = None) -> list[str]:
        """Write a row of the table, beside the floors'."""
        ratios = [f"{self.cpu / other.cpu:.2f}" if other else "" for other in (floor, eager)]
        drift = "" if self.drift is None else f"{self.drift:.2f}"
        times = [f"{self.p50:.2f}", f"{self.p99:.2f}", f"{self.worst:.1f}", drift]
        return [f"{self.cpu:.1f}", *ratios, f"{self.rate:.0f}", *times, f"{self.client:.0%}"]


_TITLE: Final = "Streams with a token every 20 ms; lateness in milliseconds, client as a share of its core"
_HEADER: Final = (
    *("streams", "server", "us/token", "/ floor", "/ eager floor", "tokens/s"),
    *("p50 late", "p99 late", "latest", "drift", "client"),
)


def measure(plan: Plan) -> Result:
    """Compare vllmsim with the floor, and at 500 streams with the eager floor and the bare Protocol too."""
    rows: list[list[str]] = []
    figures: dict[str, float] = {}
    with contextlib.ExitStack() as opened:
        subject = opened.enter_context(vllmsim(plan.cores.server, ITL * 1e3))
        script = record(subject, ITL * 1e3)
        starts = (floor, eager_floor, bare_twisted) if plan.controls else ()
        servers = [subject, *(opened.enter_context(start(plan.cores.server, script)) for start in starts)]
        for streams in plan.streams or tuple(_USUAL):
            middles = _take_turns(plan, servers if streams == _MAIN else servers[:2], streams)
            if streams == _MAIN:
                middles["vllmsim"] = evolve(middles["vllmsim"], drift=_drift(plan, subject))
            control, eager = middles.get("floor"), middles.get("eager")
            rows += [[str(streams), name, *middle.cells(control, eager)] for name, middle in middles.items()]
            if streams == _MAIN and control:
                own = middles["vllmsim"]
                figures |= {"cpu": own.cpu / control.cpu, "lateness": own.p99 - control.p99}
                figures |= {"cpu-eager": own.cpu / eager.cpu} if eager else {}
                figures |= {"drift": own.drift} if own.drift is not None else {}
    return Result(_TITLE, _HEADER, rows, figures)


def _take_turns(plan: Plan, servers: Sequence[Server], streams: int) -> dict[str, Middle]:
    """Run streams on each server in turn, round after round."""
    tokens, rounds = _USUAL.get(streams, (_ENOUGH + waves(streams), 2))
    runs: dict[str, list[Paced]] = {server.name: [] for server in servers}
    for _ in range(plan.rounds or rounds):
        for server in servers:
            runs[server.name].append(_say(plan, server, run(server, streams, plan.tokens or tokens)))
    return {name: Middle.of(some) for name, some in runs.items()}


def _drift(plan: Plan, server: Server) -> float:
    """Run streams that are long enough to drift."""
    rounds = range(min(plan.rounds or _LONG_ROUNDS, _LONG_ROUNDS))
    runs = [_say(plan, server, run(server, _MAIN, _LONG)) for _ in rounds]
    return median([paced.lateness.drift or 0.0 for paced in runs])


def _say(plan: Plan, server: Server, paced: Paced) -> Paced:
    late = f"p99 {paced.lateness.p99:.2f} ms late"
    plan.say(f"{paced.streams:9} {server.name:>9} {paced.window.cpu_per_token:6.1f} us/token, {late}")
    return paced
