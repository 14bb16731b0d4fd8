# -*- test-case-name: tests.integration.test_bench -*-
"""A dataset of 100,000 conversations: how long it takes to make and to open, and what lookups cost beside streams.

Each conversation has two rows, one for completions and one for chat. The first start goes through the table, and leaves
a file beside it for those that follow. Lookups are timed in the process that streams (see :mod:`bench.lookups`). How
long they hold the reactor is how much longer the longest wait for ``/health`` is, which is asked every millisecond,
than without them. Of such waits the least of all rounds counts: whatever else the machine does adds to them, and
nothing takes from them.
"""

import json
import random
import socket
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any, Final, TextIO

from bench import requests
from bench.building import FOLDER
from bench.load import run_paced, run_pings
from bench.lookups import prompt_ids
from bench.paced import ITL
from bench.plan import Plan, Result
from bench.servers import Server, free_ports, running, vllmsim, vllmsim_command
from vllmsim.dataset.records import TABLE, create_index, create_table, insert_row, make_row
from vllmsim.dataset.sidefile import SUFFIX
from vllmsim.inference import Tokens

_CONVERSATIONS: Final = 100_000
_ROWS_EACH: Final = 2
_WORDS: Final = 5000
_RATE: Final = 2000.0
"""Lookups in a second."""
_STREAMS: Final = 100
_SECONDS: Final = 1.5
"""How long lookups are asked for in a round."""
_ROUNDS: Final = 5
_EVERY: Final = 0.001
_SETTLE: Final = 0.3
_PATIENCE: Final = 60.0
_HEALTH: Final = requests.get("/health")


def measure(plan: Plan) -> Result:
    """Make a dataset, open it, and look answers up."""
    count = plan.tokens or _CONVERSATIONS
    with TemporaryDirectory(dir=_folder()) as folder:
        path = Path(folder, "conversations.sqlite3")
        figures = {"dataset-build": make(path, count)}
        plan.say(f"made {count} conversations in {figures['dataset-build']:.1f} s, {path.stat().st_size >> 20} MiB")
        starts = _measure_starts(plan, path)
        figures["dataset-start"] = starts["the first"]
        looked_up = _measure_lookups(plan, path, count * _ROWS_EACH)
    figures |= looked_up
    rows = [
        ["conversations", f"{count}"],
        ["making them", f"{figures['dataset-build']:.1f} s"],
        *([f"start, {how}", f"{seconds:.2f} s"] for how, seconds in starts.items()),
        ["lookups beside streams", f"{looked_up['dataset-rate']:.0f} /s"],
        ["of these, p99", f"{looked_up['dataset-p99']:.2f} ms"],
        ["how long they hold the reactor", f"{looked_up['dataset-stall']:.2f} ms"],
    ]
    return Result(
        f"A dataset, with {plan.streams[0] if plan.streams else _STREAMS} streams", ("", "figure"), rows, figures
    )


def _folder() -> Path:
    FOLDER.mkdir(parents=True, exist_ok=True)
    return FOLDER


def make(path: Path, conversations: int) -> float:
    """Make a dataset with an index, of answers with a hundred tokens or so.

    :return: how many seconds it took.
    """
    begun = time.monotonic()
    generator = random.Random(1)  # noqa: S311 - simulation, not secrets
    words = [(generator.getrandbits(32), f"word{number} ") for number in range(_WORDS)]

    def rows() -> Iterator[tuple[bytes, str, int]]:
        for number in range(conversations * _ROWS_EACH):
            said = generator.choices(words, k=max(1, min(1000, int(generator.lognormvariate(4.2, 0.8)))))
            yield make_row(prompt_ids(number), Tokens([token for token, _ in said], [text for _, text in said]))

    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(create_table(TABLE))
        connection.execute("BEGIN")
        connection.executemany(insert_row(TABLE), rows())
        connection.execute(create_index(TABLE))
        connection.execute("COMMIT")
    return time.monotonic() - begun


def _measure_starts(plan: Plan, path: Path) -> dict[str, float]:
    """Time starts, from the command to the first 200 on ``/health``."""
    found = {
        "without a dataset": _start(plan),
        "the first": _start(plan, path, anew=True),
        "the next": _start(plan, path),
    }
    for how, seconds in found.items():
        plan.say(f"{how:>22} {seconds:.2f} s")
    return found


def _start(plan: Plan, path: Path | None = None, *, anew: bool = False) -> float:
    times: list[float] = []
    for _ in range(plan.rounds or _ROUNDS):
        if path and anew:
            path.with_name(path.name + SUFFIX).unlink(missing_ok=True)
        begun = time.monotonic()
        with vllmsim(plan.cores.server, options=("--dataset-path", str(path)) if path else ()):
            times.append(time.monotonic() - begun)
    return median(times)


def _measure_lookups(plan: Plan, path: Path, rows: int) -> dict[str, float]:
    """Look up, beside streams."""
    port, orders = free_ports(2)
    options = vllmsim_command(port, ITL * 1e3, ("--dataset-path", str(path)))[4:]
    command = [sys.executable, "-m", "bench.lookups", str(rows), str(orders), *options]
    rates: list[float] = []
    p99s: list[float] = []
    waits: dict[bool, list[float]] = {False: [], True: []}
    with (
        running("lookups", command, [port], plan.cores.server) as server,
        socket.create_connection(("127.0.0.1", orders), _PATIENCE) as connection,
        connection.makefile("rw") as talk,
    ):
        for _ in range(plan.rounds or _ROUNDS):
            for asking in (False, True):
                found, wait = _round(plan, server, talk, _RATE if asking else 1.0)
                waits[asking].append(wait)
                if asking:
                    took = found["took"]
                    rates.append(len(took) / found["seconds"])
                    p99s.append(took[int(len(took) * 0.99)])
                    plan.say(f"{rates[-1]:.0f} /s, p99 {p99s[-1]:.2f} ms, worst {took[-1]:.1f} ms, {found['results']}")
                plan.say(f"{'asking' if asking else 'quiet':>22} {wait:.2f} ms longest wait")
    stall = min(waits[True]) - min(waits[False])
    return {"dataset-rate": median(rates), "dataset-p99": min(p99s), "dataset-stall": stall}


def _round(plan: Plan, server: Server, talk: TextIO, rate: float) -> tuple[dict[str, Any], float]:
    """Have streams run, and look up meanwhile.

    :return: what the server says of it, and the longest wait for ``/health`` in milliseconds.
    """
    seconds = plan.seconds or _SECONDS
    streams = plan.streams[0] if plan.streams else _STREAMS
    tokens = round((seconds + 4 * _SETTLE) / ITL)
    paced = Thread(
        target=run_paced,
        args=(server.ports, server.pid, requests.chat(stream=True, max_tokens=tokens)),
        kwargs={
            "streams": streams,
            "tokens": tokens,
            "spacing": _SETTLE / streams,
            "window": (_SETTLE, _SETTLE + seconds),
        },
    )
    paced.start()
    time.sleep(2 * _SETTLE)
    talk.write(f"{rate} {seconds}\n")
    talk.flush()
    _, took = run_pings(server.port, _HEALTH, seconds=seconds, spacing=_EVERY)
    found: dict[str, Any] = json.loads(talk.readline())
    paced.join()
    return found, max(took) / 1e6
