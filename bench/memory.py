# -*- test-case-name: tests.integration.test_bench -*-
"""How much memory a connection takes, and a stream, its connection included, or its share of one over gRPC.

It is what the process grows by when there are two thousand instead of one, divided by a thousand. The first thousand
fills what the process has free.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

from attrs import frozen

from bench import requests
from bench.grpc import GENERATE, HEALTH
from bench.load import Method, held
from bench.plan import Plan, Result
from bench.servers import Server, bare_twisted, record, vllmsim

_COUNT: Final = 1000
_TOKENS: Final = 256
_ITL_MS: Final = 200.0
"""Slow enough for a thousand streams to leave the server idle."""
_SETTLE: Final = 0.3
_KB: Final = 1024
_SHARED: Final = 10
"""Connections on which the streams of gRPC are."""


@frozen
class _Row:
    """What is measured of a server.

    :param start: starts it on a core, or anywhere.
    :param idle: what is answered, so that a connection is idle.
    :param stream: what is answered by a stream.
    :param methods: which ones those call, where they are calls of gRPC.
    """

    start: Callable[[int | None], AbstractContextManager[Server]]
    idle: bytes
    stream: bytes
    methods: tuple[Method | None, Method | None] = (None, None)


def _ours(core: int | None) -> AbstractContextManager[Server]:
    return vllmsim(core, _ITL_MS)


def _grown(server: Server, request: bytes, count: int, method: Method | None) -> float:
    """Tell how many bytes the server has more for each connection, or stream."""
    with held(server.ports, request, count, method):
        time.sleep(_SETTLE)
        before = server.resident()
        with held(server.ports, request, count, method):
            time.sleep(_SETTLE)
            return (server.resident() - before) / count


def measure(plan: Plan) -> Result:
    """Measure connections that were answered and stay, and streams that are half way."""
    rows: list[list[str]] = []
    figures: dict[str, float] = {}
    count, tokens = (plan.streams or (_COUNT,))[0], plan.tokens or _TOKENS
    http = requests.get("/health"), requests.chat(stream=True, max_tokens=tokens)
    grpc = requests.NOTHING, requests.generate(stream=True, max_tokens=tokens)
    shared = Method(GENERATE, min(_SHARED, count))
    measured = {"vllmsim": _Row(_ours, *http), "over gRPC": _Row(_ours, *grpc, (Method(HEALTH, count), shared))}
    if plan.controls:
        with vllmsim(plan.cores.server, 1) as server:
            script = record(server, _ITL_MS)
        measured["twisted"] = _Row(lambda core: bare_twisted(core, script), *http)
    for name, row in measured.items():
        found: list[float] = []
        for request, method in zip((row.idle, row.stream), row.methods, strict=True):
            # Each in a process of its own: what one gives back would be there for the other.
            with row.start(plan.cores.server) as server:
                at_rest = server.resident()
                found.append(_grown(server, request, count, method) / _KB)
        plan.say(f"{name:>9} {found[0]:.1f} KB for a connection, {found[1]:.1f} KB for a stream")
        rows.append([name, f"{at_rest / _KB / _KB:.0f} MB", *(f"{kilobytes:.1f} KB" for kilobytes in found)])
        if name == "vllmsim":
            figures["memory"] = found[1]
    header = ("server", "at rest", "an idle connection", f"a stream of {tokens} tokens")
    return Result(f"Memory, from {count} to {2 * count}", header, rows, figures)
