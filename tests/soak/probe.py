"""Looks every 50 ms whether the server is there, or whether this machine is: ``python -m tests.soak.probe PORT PID``.

With the port of a server each look is one request for ``/health``, and what it takes. With port 0 it is a sleep, and
how much longer that takes than it should: what the machine itself makes everybody wait. It says what it has seen when
its standard input ends.
"""

import json
import select
import socket
import sys
import time
from pathlib import Path
from typing import Final

INTERVAL: Final = 0.05
SLOW: Final = 0.1
"""Seconds from which on a look is told one by one."""
_PATIENCE: Final = 60.0
_ASK: Final = b"GET /health HTTP/1.1\r\nHost: probe\r\n\r\n"


def waited(pid: str) -> float:
    """Tell how many seconds a process has waited for a core, though it could have run."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text("ascii").split()[1]) / 1e9
    except (OSError, LookupError):
        return 0.0


def over(until: float) -> bool:
    """Sleep, and tell whether nobody wants to know any more."""
    return bool(select.select([sys.stdin], [], [], max(0.0, until - time.monotonic()))[0])


def ask(connection: socket.socket) -> None:
    """Ask whether the server is well."""
    connection.sendall(_ASK)
    answer = b""
    while not answer.endswith(b"{}"):
        piece = connection.recv(4096)
        if not piece:
            raise ConnectionError(f"the server closed the connection: {answer!r}")
        answer += piece
    if not answer.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(f"the server is not well: {answer!r}")


def main(port: int, pid: str) -> None:
    """Look until it is over."""
    connection = socket.create_connection(("127.0.0.1", port), _PATIENCE) if port else None
    delays: list[float] = []
    slow: list[tuple[float, float, float]] = []
    due = time.monotonic()
    while not over(due := max(due + INTERVAL, time.monotonic())):
        starved, begun = waited(pid) + waited("self"), time.monotonic()
        if connection is not None:
            ask(connection)
        else:
            begun = due
        delay = time.monotonic() - begun
        delays.append(delay)
        if delay >= SLOW:
            slow.append((begun, delay, waited(pid) + waited("self") - starved))
    print(json.dumps({"delays": sorted(delays), "slow": slow}))  # noqa: T201 - it is a program


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
