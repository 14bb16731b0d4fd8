# -*- test-case-name: tests.integration.test_bench -*-
"""How long the reactor is held by what is no token: a scrape of the metrics, and a prompt of 4 MiB.

A scrape is timed beside a request for ``/health`` on a connection of the same kind, with nothing else to do. For the
prompt, ``/health`` is asked every millisecond while it is posted, and the longest wait for an answer is what counts,
less the longest one when nothing is posted. Client and posts share a core, so some of that is theirs.
"""

import contextlib
from statistics import median
from typing import Final

from bench import requests
from bench.load import busy, run_closed, run_pings
from bench.plan import Plan, Result
from bench.servers import Server, bare_twisted, record, vllmsim

_HEALTH: Final = requests.get("/health")
_METRICS: Final = requests.get("/metrics")
_ROUNDS: Final = 5
_SCRAPES: Final = 0.2
"""Seconds of a round."""
_EVERY: Final = 0.001
_PROMPT: Final = 4 << 20
_WORDS: Final = "All work and no play makes a long prompt, and a long prompt makes work. "
_WATCHED: Final = 0.6
"""Seconds likewise, where waits are watched."""
_SCRAPE_EVERY: Final = 0.05
_LONG_OPTIONS: Final = ("--max-model-len", "4000000", "--max-request-body-size-mb", "8")


def measure_metrics(plan: Plan) -> Result:
    """Time scrapes."""
    seconds = plan.seconds or _WATCHED
    scrapes: list[float] = []
    healths: list[float] = []
    longest: dict[str, list[float]] = {"with scrapes": [], "without": []}
    with vllmsim(plan.cores.server) as server:
        stream = requests.chat(stream=True, max_tokens=requests.SHORT)
        run_closed(server.ports, server.pid, stream, connections=8, seconds=_SCRAPES, tokens=requests.SHORT)
        for _ in range(plan.rounds or _ROUNDS):
            healths.append(_median_ping(server, _HEALTH))
            scrapes.append(_median_ping(server, _METRICS))
            longest["without"].append(_longest_wait(server, seconds, None, 0))
            longest["with scrapes"].append(_longest_wait(server, seconds, _METRICS, _SCRAPE_EVERY))
            plan.say(f"  scrape {scrapes[-1]:.2f} ms, /health {healths[-1]:.2f} ms")
    stall = median(scrapes) - median(healths)
    waits = [[f"longest wait for /health, {name}", f"{median(some):.2f} ms"] for name, some in longest.items()]
    rows = [
        ["a scrape", f"{median(scrapes):.2f} ms"],
        ["/health", f"{median(healths):.2f} ms"],
        ["a scrape more than /health", f"{stall:.2f} ms"],
        *waits,
    ]
    return Result("How long a scrape holds the reactor", ("", "median"), rows, {"metrics": stall})


def _median_ping(server: Server, request: bytes) -> float:
    _, took = run_pings(server.port, request, seconds=_SCRAPES)
    return median(took) / 1e6


def _longest_wait(server: Server, seconds: float, disturbance: bytes | None, spacing: float) -> float:
    """Ask for ``/health`` every millisecond.

    :param seconds: how long.
    :param disturbance: what another client asks meanwhile, each time after this spacing.
    :return: the longest wait, in milliseconds.
    """
    with contextlib.ExitStack() as opened:
        if disturbance is not None:
            opened.enter_context(busy(server.port, disturbance, spacing))
        _, took = run_pings(server.port, _HEALTH, seconds=seconds, spacing=_EVERY)
    return max(took) / 1e6


def measure_prompt(plan: Plan) -> Result:
    """Post prompts of 4 MiB to vllmsim, and to a bare Protocol that does not look at them."""
    seconds = plan.seconds or _WATCHED
    text = (_WORDS * (_PROMPT // len(_WORDS) + 1))[:_PROMPT]
    post = requests.chat(stream=False, max_tokens=requests.SHORT, question=text)
    with contextlib.ExitStack() as opened:
        servers = [opened.enter_context(vllmsim(plan.cores.server, options=_LONG_OPTIONS))]
        if plan.controls:
            script = record(servers[0], 0)
            servers.append(opened.enter_context(bare_twisted(plan.cores.server, script)))
        waits: dict[tuple[str, bool], list[float]] = {}
        for _ in range(plan.rounds or _ROUNDS):
            for server in servers:
                for posting in (False, True):
                    wait = _longest_wait(server, seconds, post if posting else None, seconds / 3)
                    waits.setdefault((server.name, posting), []).append(wait)
                    plan.say(f"{server.name:>9} {'posting' if posting else 'quiet':>8} {wait:6.1f} ms")
    rows = []
    for server in servers:
        quiet, posting_ = (median(waits[server.name, posting]) for posting in (False, True))
        rows.append([server.name, f"{quiet:.1f} ms", f"{posting_:.1f} ms", f"{posting_ - quiet:.1f} ms"])
    stall = median(waits["vllmsim", True]) - median(waits["vllmsim", False])
    header = ("server", "longest wait for /health", "while 4 MiB are posted", "more")
    return Result("How long a prompt of 4 MiB holds the reactor", header, rows, {"prompt": stall})
