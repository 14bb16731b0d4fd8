# -*- test-case-name: tests.integration.test_bench -*-
"""How long the reactor is held by a prompt of 32,000 tokens whose 2,000 blocks are in the KV cache.

What the cache does for it is done in the process that answers (see :mod:`bench.hits`): its blocks are hashed, found,
taken, and given back. Meanwhile ``/health`` is asked every millisecond; how much longer the longest wait for it is than
without is how long the reactor is held. Of such waits the least of all rounds counts: whatever else the machine does
adds to them, and nothing takes from them.
"""

import json
import socket
import sys
from typing import Final

from bench import requests
from bench.load import run_pings
from bench.plan import Plan, Result
from bench.servers import Server, ServerError, free_ports, running, vllmsim_command

_BLOCK: Final = 16
_BLOCKS: Final = 2000
_TOKENS: Final = _BLOCK * _BLOCKS + 1
"""One more than the blocks have, as the last token of a prompt is always computed."""
_OPTIONS: Final = (
    *("--enable-kvcache", "--kv-cache-size", "8192", "--block-size", str(_BLOCK)),
    *("--max-model-len", "40000", "--zmq-endpoint", ""),
)
_ALGORITHMS: Final = ("sha256", "fnv64_cbor")
"""The usual one, and the one that takes longest."""
_ROUNDS: Final = 5
_SECONDS: Final = 0.6
"""How long a round is."""
_SPACING: Final = 0.03
_EVERY: Final = 0.001
_PATIENCE: Final = 60.0
_HEALTH: Final = requests.get("/health")


def measure(plan: Plan) -> Result:
    """Find the prompt, hashed in the usual way, and in the slowest unless vllmsim is measured alone."""
    rows, stalls = [], []
    for algorithm in _ALGORITHMS if plan.controls else _ALGORITHMS[:1]:
        quiet, busy = _waits(plan, algorithm)
        stalls.append(busy - quiet)
        rows.append([f"vllmsim, {algorithm}", f"{quiet:.2f} ms", f"{busy:.2f} ms", f"{stalls[-1]:.2f} ms"])
        plan.say("  ".join(rows[-1]))
    header = ("server", "longest wait for /health", "while the prompt is found", "more")
    title = "How long a prompt of 32,000 tokens in the KV cache holds the reactor"
    return Result(title, header, rows, {"prefix": stalls[0]})


def _waits(plan: Plan, algorithm: str) -> tuple[float, float]:
    """Ask for ``/health``, with and without prompts.

    :return: the least of the longest waits without, and with; in milliseconds.
    """
    port, orders = free_ports(2)
    options = vllmsim_command(port, 0, (*_OPTIONS, "--prefix-caching-hash-algo", algorithm))[4:]
    command = [sys.executable, "-m", "bench.hits", str(_TOKENS), str(orders), *options]
    seconds = plan.seconds or _SECONDS
    quiet: list[float] = []
    busy: list[float] = []
    with (
        running("hits", command, [port], plan.cores.server) as server,
        socket.create_connection(("127.0.0.1", orders), _PATIENCE) as connection,
        connection.makefile("rw") as talk,
    ):

        def find(count: int) -> None:
            talk.write(f"{count} {_SPACING}\n")
            talk.flush()

        find(2)
        _check(json.loads(talk.readline())[1:])
        for _ in range(plan.rounds or _ROUNDS):
            quiet.append(_longest_wait(server, seconds))
            find(max(1, round(seconds / _SPACING)))
            busy.append(_longest_wait(server, seconds))
            _check(json.loads(talk.readline()))
    return min(quiet), min(busy)


def _longest_wait(server: Server, seconds: float) -> float:
    _, took = run_pings(server.port, _HEALTH, seconds=seconds, spacing=_EVERY)
    return max(took) / 1e6


def _check(cached: list[int]) -> None:
    """Make sure that all blocks were found each time.

    :raises ServerError: when they were not.
    """
    if set(cached) != {_BLOCK * _BLOCKS}:
        raise ServerError(f"Of {_BLOCK * _BLOCKS} tokens these were found: {cached}.")
