# -*- test-case-name: tests.integration.test_bench -*-
"""How much memory a connection takes, and a stream, its connection included.

It is what the process grows by when there are two thousand instead of one, divided by a thousand. The first thousand
fills what the process has free.
"""

import contextlib
import time
from typing import Final

from bench import requests
from bench.load import held
from bench.plan import Plan, Result
from bench.servers import Server, Start, bare_twisted, record, vllmsim

_COUNT: Final = 1000
_TOKENS: Final = 256
_ITL_MS: Final = 200.0
"""Slow enough for a thousand streams to leave the server idle."""
_SETTLE: Final = 0.3
_KB: Final = 1024


def _grown(server: Server, request: bytes, count: int) -> float:
    """Tell how many bytes the server has more for each connection."""
    with held(server.ports, request, count):
        time.sleep(_SETTLE)
        before = server.resident()
        with held(server.ports, request, count):
            time.sleep(_SETTLE)
            return (server.resident() - before) / count


def measure(plan: Plan) -> Result:
    """Measure connections that were answered and stay, and streams that are half way."""
    rows: list[list[str]] = []
    figures: dict[str, float] = {}
    stream = requests.chat(stream=True, max_tokens=plan.tokens or _TOKENS)
    count = (plan.streams or (_COUNT,))[0]
    with vllmsim(plan.cores.server, 1) as server:
        script = record(server, _ITL_MS)
    starts: dict[str, Start] = {"vllmsim": lambda core, script: vllmsim(core, script.itl_ms)}
    if plan.controls:
        starts["twisted"] = bare_twisted
    for name, start in starts.items():
        found: list[float] = []
        for request in (requests.get("/health"), stream):
            # Each in a process of its own: what one gives back would be there for the other.
            with contextlib.ExitStack() as opened:
                server = opened.enter_context(start(plan.cores.server, script))
                at_rest = server.resident()
                found.append(_grown(server, request, count) / _KB)
        plan.say(f"{name:>9} {found[0]:.1f} KB for a connection, {found[1]:.1f} KB for a stream")
        rows.append([name, f"{at_rest / _KB / _KB:.0f} MB", *(f"{kilobytes:.1f} KB" for kilobytes in found)])
        if name == "vllmsim":
            figures["memory"] = found[1]
    header = ("server", "at rest", "an idle connection", f"a stream of {plan.tokens or _TOKENS} tokens")
    return Result(f"Memory, from {count} to {2 * count}", header, rows, figures)
