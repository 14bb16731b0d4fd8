# -*- test-case-name: tests.integration.test_bench -*-
"""Readers who stop: what they cost, and whether they hold up those who read.

Two hundred clients with small windows ask for a stream of 20 s, and read none of it. When the kernel has taken what it
takes, two hundred others run streams as ever. In the end the first ones read, and must get everything.
"""

import contextlib
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from bench import requests
from bench.load import LoadError
from bench.paced import ITL, run
from bench.plan import Plan, Result
from bench.servers import Server, vllmsim

_COUNT: Final = 200
_TOKENS: Final = 1000
_HEALTHY_TOKENS: Final = 250
_WINDOW: Final = 4096
_READ: Final = 1 << 16


@contextlib.contextmanager
def stalled(server: Server, request: bytes, count: int) -> Iterator[Sequence[socket.socket]]:
    """Have clients that ask and do not read."""
    with contextlib.ExitStack() as opened:
        clients = []
        for _ in range(count):
            client = opened.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WINDOW)
            client.settimeout(60)
            client.connect(("127.0.0.1", server.port))
            client.sendall(request)
            clients.append(client)
        yield clients


def _read(client: socket.socket) -> int:
    """Read a stream to its end.

    :return: its events.
    """
    data = b""
    while not data.endswith(b"\r\n0\r\n\r\n"):
        piece = client.recv(_READ)
        if not piece:
            raise LoadError("A stream that had stalled ended too early.")
        data += piece
    return data.count(b"data: ")


def measure(plan: Plan) -> Result:
    """Run healthy streams alone, and beside stalled ones."""
    count = (plan.streams or (_COUNT,))[0]
    tokens = plan.tokens or _TOKENS
    with vllmsim(plan.cores.server, ITL * 1e3) as server:
        alone = run(server, count, min(tokens, _HEALTHY_TOKENS))
        before = server.resident()
        with stalled(server, requests.chat(stream=True, max_tokens=tokens), count) as clients:
            plan.say(f"  {count} readers stop")
            time.sleep(tokens * ITL + 1)
            grown = server.resident() - before
            beside = run(server, count, min(tokens, _HEALTHY_TOKENS))
            with ThreadPoolExecutor(8) as readers:
                events = set(readers.map(_read, clients))
        # The role, the tokens, and [DONE].
        if events != {tokens + 2}:
            raise LoadError(f"Streams that had stalled have {events} events instead of {tokens + 2}.")
    rows = []
    for name, paced in ((f"{count} healthy streams alone", alone), (f"beside {count} stalled ones", beside)):
        late = paced.lateness
        rows.append(
            [name, f"{paced.window.cpu_per_token:.1f}", *(f"{ms:.2f}" for ms in (late.p50, late.p99, late.worst))]
        )
    rows.append([f"memory of a stalled stream of {tokens} tokens", f"{grown / count / 1024:.1f} KB", "", "", ""])
    header = ("", "us/token", "p50 late", "p99 late", "latest")
    return Result("Readers who stop; all get everything when they read again; lateness in ms", header, rows, {})
