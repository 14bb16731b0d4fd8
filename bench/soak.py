# -*- test-case-name: tests.integration.test_bench -*-
"""Ten minutes at 70 % of what a core carries: nothing is lost, nothing grows, and nothing comes later than before.

Streams of half a minute start again and again, all on one server. The client fails when one is lost or short. Memory
is the server's, after each run.
"""

from statistics import median
from typing import Final

from bench.lateness import Lateness
from bench.paced import ITL, run
from bench.plan import Plan, Result
from bench.servers import Server, vllmsim

_SHARE: Final = 0.7
_PROBE: Final = 500
"""Streams whose cost tells how many make up that share."""
_PROBE_TOKENS: Final = 150
_RUN: Final = 30.0
_LENGTH: Final = 600.0
_MB: Final = 1 << 20


def _enough(server: Server) -> int:
    """Find how many streams keep a server's core as busy as it is to be."""
    return int(_PROBE * _SHARE / run(server, _PROBE, _PROBE_TOKENS).window.server_share)


def measure(plan: Plan) -> Result:
    """Run streams for ten minutes, or as many seconds as is said."""
    rows: list[list[str]] = []
    lates: list[Lateness] = []
    with vllmsim(plan.cores.server, ITL * 1e3) as server:
        streams = plan.streams[0] if plan.streams else _enough(server)
        seconds = min(_RUN, plan.seconds or _LENGTH)
        tokens = plan.tokens or int(seconds / ITL)
        sizes = [server.resident()]
        for number in range(max(1, round((plan.seconds or _LENGTH) / seconds))):
            paced = run(server, streams, tokens)
            lates.append(paced.lateness)
            sizes.append(server.resident())
            cells = [
                f"{(number + 1) * seconds:.0f} s",
                f"{paced.window.server_share:.0%}",
                f"{paced.window.tokens_per_second:.0f}",
                f"{paced.lateness.p50:.2f} ms",
                f"{paced.lateness.p99:.2f} ms",
                f"{paced.lateness.worst:.1f} ms",
                f"{sizes[-1] / _MB:.1f} MB",
            ]
            rows.append(cells)
            plan.say("  ".join(cells))
    settled = sizes[2:] or sizes[1:]
    half = len(lates) // 2
    first, second = (median([late.p99 for late in some]) for some in (lates[:half] or lates, lates[half:]))
    rows.append(["growth after the second run", *[""] * 5, f"{(settled[-1] - settled[0]) / _MB:+.1f} MB"])
    rows.append(["p99 of the second half less the first's", *[""] * 3, f"{second - first:+.2f} ms", "", ""])
    header = ("after", "core", "tokens/s", "p50 late", "p99 late", "latest", "memory")
    return Result(f"{streams} streams with a token every 20 ms, again and again; none was lost", header, rows, {})
