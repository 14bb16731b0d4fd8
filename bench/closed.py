# -*- test-case-name: tests.integration.test_bench -*-
"""Work without waiting: tokens in a second when all of a stream are due at once, and requests in a second.

Ratios are of what a server does in a second of its core. On a quiet machine that is a second, unless the client is the
limit; on a busy one it is what stays the same.
"""

import contextlib
from collections.abc import Callable, Sequence
from statistics import median
from typing import Final

from bench import requests, wrk
from bench.load import Window, run_closed
from bench.plan import Plan, Result
from bench.servers import Server, bare_twisted, floor, record, vllmsim

_TOKENS: Final = 256
_STREAMS: Final = (1, 64, 512)
_MAIN: Final = 64
_SECONDS: Final = 0.6
_WARM: Final = 0.3
_ROUNDS: Final = 3
_MAIN_ROUNDS: Final = 5
_PATH: Final = "/v1/chat/completions"


def measure_bursts(plan: Plan) -> Result:
    """Compare streams whose tokens are all due at once."""
    tokens = plan.tokens or _TOKENS

    def run(server: Server, connections: int) -> Window:
        return run_closed(
            server.ports,
            server.pid,
            request,
            connections=connections,
            seconds=plan.seconds or _SECONDS,
            tokens=tokens,
            warm=_WARM,
        )

    request = requests.chat(stream=True, max_tokens=tokens)
    rows, figure = _compare(plan, run, plan.streams or _STREAMS, tokens)
    header = ("connections", "server", "tokens/s", "in a core's second", "of bare Twisted", "server", "client")
    return Result(
        f"Streams of {tokens} tokens, all due at once", header, rows, {} if figure is None else {"burst": figure}
    )


def measure_whole(plan: Plan) -> Result:
    """Compare answers that are no streams, asked for by wrk where it is installed."""

    def run(server: Server, connections: int) -> Window:
        if wrk.is_installed():
            return wrk.run(
                server.port,
                server.pid,
                request,
                path=_PATH,
                connections=connections,
                seconds=round(plan.seconds or 0) or 1,
            )
        return run_closed(server.ports, server.pid, request, connections=connections, seconds=plan.seconds or _SECONDS)

    request = requests.chat(stream=False, max_tokens=requests.SHORT)
    rows, figure = _compare(plan, run, plan.streams or (_MAIN,), 0)
    header = ("connections", "server", "answers/s", "in a core's second", "of bare Twisted", "server", "client")
    title = (
        f"Answers of {requests.SHORT} tokens that are no streams, {'by wrk' if wrk.is_installed() else 'by client.c'}"
    )
    return Result(title, header, rows, {} if figure is None else {"whole": figure})


def _compare(
    plan: Plan, run: Callable[[Server, int], Window], connections: Sequence[int], tokens: int
) -> tuple[list[list[str]], float | None]:
    """Have all servers take turns.

    :param tokens: of a stream, or 0 to count answers.
    :return: the rows, and vllmsim's share of bare Twisted's rate at 64 connections.
    """
    rows: list[list[str]] = []
    figure = None
    with contextlib.ExitStack() as opened:
        servers = [opened.enter_context(vllmsim(plan.cores.server))]
        if plan.controls:
            script = record(servers[0], 0, tokens or _TOKENS)
            servers += [opened.enter_context(start(plan.cores.server, script)) for start in (floor, bare_twisted)]
        for count in connections:
            windows: dict[str, list[Window]] = {server.name: [] for server in servers}
            for _ in range(plan.rounds or (_MAIN_ROUNDS if count == _MAIN else _ROUNDS)):
                for server in servers:
                    window = run(server, count)
                    windows[server.name].append(window)
                    plan.say(f"{count:9} {server.name:>9} {_rate(window, tokens):10.0f} a second")
            rates = {name: median([_of_core(window, tokens) for window in some]) for name, some in windows.items()}
            for name, some in windows.items():
                ratio = f"{rates[name] / rates['twisted']:.0%}" if plan.controls else ""
                shares = [
                    median([window.server_share for window in some]),
                    median([window.client_share for window in some]),
                ]
                rate = median([_rate(window, tokens) for window in some])
                rows.append(
                    [str(count), name, f"{rate:.0f}", f"{rates[name]:.0f}", ratio, *map("{:.0%}".format, shares)]
                )
            if count == _MAIN and plan.controls:
                figure = rates["vllmsim"] / rates["twisted"]
    return rows, figure


def _rate(window: Window, tokens: int) -> float:
    return window.tokens_per_second if tokens else window.answers_per_second


def _of_core(window: Window, tokens: int) -> float:
    """Tell the rate of a second in which the core did nothing else, whatever kept it from the server."""
    return _rate(window, tokens) / window.server_share
