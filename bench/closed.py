# -*- test-case-name: tests.bench.test_closed -*-
"""Work without waiting: tokens in a second when all of a stream are due at once, and requests in a second."""

import contextlib
from collections.abc import Sequence
from typing import Final

from bench import requests
from bench.lateness import median
from bench.load import Window, run_closed
from bench.plan import Plan, Result
from bench.servers import Server, bare_twisted, floor, record, vllmsim

_TOKENS: Final = 256
_STREAMS: Final = (1, 64, 512)
_MAIN: Final = 64
_SECONDS: Final = 0.7
_ROUNDS: Final = 3
_HEADER: Final = ("connections", "server", "a second", "of bare Twisted", "server", "client")


def measure_bursts(plan: Plan) -> Result:
    """Compare streams whose tokens are all due at once."""
    return _measure(plan, plan.tokens or _TOKENS, plan.streams or _STREAMS)


def measure_whole(plan: Plan) -> Result:
    """Compare answers that are no streams."""
    return _measure(plan, 0, plan.streams or (_MAIN,))


def _measure(plan: Plan, tokens: int, connections: Sequence[int]) -> Result:
    rows: list[list[str]] = []
    figures: dict[str, float] = {}
    request = requests.chat(stream=tokens > 0, max_tokens=tokens or requests.SHORT)
    with contextlib.ExitStack() as opened:
        subject = opened.enter_context(vllmsim(plan.cores.server))
        servers = [subject]
        if plan.controls:
            script = record(subject, 0, tokens or _TOKENS)
            servers += [opened.enter_context(start(plan.cores.server, script)) for start in (floor, bare_twisted)]
        for count in connections:
            rates: dict[str, list[float]] = {server.name: [] for server in servers}
            shares = dict.fromkeys(rates, (0.0, 0.0))
            for _ in range(plan.rounds or _ROUNDS):
                for server in servers:
                    window = _run(server, request, count, tokens)
                    rates[server.name].append(window.tokens_per_second if tokens else window.answers_per_second)
                    shares[server.name] = (window.server_share, window.client_share)
                    plan.say(f"{count:9} {server.name:>9} {rates[server.name][-1]:10.0f} a second")
            bare = median(rates["twisted"]) if plan.controls else None
            for name, some in rates.items():
                rate = median(some)
                ratio = "" if bare is None else f"{rate / bare:.0%}"
                rows.append([str(count), name, f"{rate:.0f}", ratio, *(f"{share:.0%}" for share in shares[name])])
            if count == _MAIN and bare is not None:
                figures["burst" if tokens else "whole"] = median(rates["vllmsim"]) / bare
    title = f"Tokens of streams of {tokens}, all due at once" if tokens else "Requests for answers that are no streams"
    return Result(title, _HEADER, rows, figures)


def _run(server: Server, request: bytes, connections: int, tokens: int) -> Window:
    return run_closed(server.ports, server.pid, request, connections=connections, seconds=_SECONDS, tokens=tokens)
