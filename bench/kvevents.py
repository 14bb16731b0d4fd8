# -*- test-case-name: tests.integration.test_bench -*-
"""What it costs tokens that KV events are published: streams whose blocks fill, and push others out of a full cache.

Blocks have eight tokens, so that each of 500 streams fills more than six in a second, and as many are evicted. The same
streams run on a server without a KV cache, on one that has it and tells nobody, and on one that tells a subscriber, in
turns. The subscriber has what the client leaves of its core, and counts; it must get every batch. The threads of ZeroMQ
share the server's core.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Final

from attrs import define, field

from bench.building import HERE
from bench.load import LoadError
from bench.machine import pin
from bench.paced import ITL, Middle, Paced, run, waves
from bench.plan import Plan, Result
from bench.servers import free_ports, vllmsim

_STREAMS: Final = 500
_TOKENS: Final = 150
_ROUNDS: Final = 4
_BLOCK: Final = 8
_PROMPT: Final = 64
"""Tokens, more than prompts have."""
_STOP: Final = 10.0


def _give_way(core: int | None) -> None:
    """Run on a core with what the client leaves of it, so that tokens are not stamped later for our sake."""
    pin(core)
    os.nice(19)


@define
class Counted:
    """What a subscriber has counted: when each batch came in nanoseconds, and how many events it had."""

    batches: list[tuple[int, int]] = field(factory=list)

    def rate(self, begin: float, end: float) -> float:
        """Tell how many events came in a second.

        :param begin: of the time that counts, in seconds of the monotonic clock.
        """
        return sum(events for at, events in self.batches if begin * 1e9 <= at < end * 1e9) / (end - begin)


@contextlib.contextmanager
def subscribed(endpoint: str, core: int | None) -> Iterator[Counted]:
    """Have a subscriber count, on a core. What it has counted is known in the end.

    :raises LoadError: if it could not, or if a batch is missing.
    """
    counted = Counted()
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-m", "bench.subscriber", endpoint],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=HERE.parent,
        preexec_fn=lambda: _give_way(core),  # noqa: PLW1509 - there are no threads here
    ) as process:
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            raise LoadError(f"Nobody could subscribe at {endpoint}.")
        try:
            yield counted
        finally:
            said, _ = process.communicate(timeout=_STOP)
    before = None
    for line in said.splitlines():
        at, number, events = map(int, line.split())
        if before is not None and number != before + 1:
            raise LoadError(f"The subscriber has lost batches between {before} and {number}.")
        before = number
        counted.batches.append((at, events))


def measure(plan: Plan) -> Result:
    """Run streams without a cache, with one, and with a subscriber."""
    streams = (plan.streams or (_STREAMS,))[0]
    tokens = plan.tokens or _TOKENS
    endpoint = f"tcp://127.0.0.1:{free_ports()[0]}"
    # Room for all streams and a few more: what one run leaves is what the next one evicts.
    blocks = streams * (_PROMPT + tokens) // _BLOCK
    cache = ("--enable-kvcache", "--block-size", str(_BLOCK), "--kv-cache-size", str(blocks))
    options: dict[str, Sequence[str]] = {
        "no cache": (),
        "no events": (*cache, "--zmq-endpoint", ""),
        "events": (*cache, "--zmq-endpoint", endpoint.replace("127.0.0.1", "*")),
    }
    runs: dict[str, list[Paced]] = {name: [] for name in options}
    rates: list[float] = []
    with contextlib.ExitStack() as opened:
        servers = {
            name: opened.enter_context(vllmsim(plan.cores.server, ITL * 1e3, words)) for name, words in options.items()
        }
        # Only full caches evict.
        for name in ("no events", "events"):
            run(servers[name], streams, tokens)
        for _ in range(plan.rounds or _ROUNDS):
            for name, server in servers.items():
                with subscribed(endpoint, plan.cores.client) if name == "events" else contextlib.nullcontext() as heard:
                    begun = time.monotonic()
                    runs[name].append(_say(plan, name, run(server, streams, tokens)))
                if heard is not None:
                    rates.append(heard.rate(begun + waves(streams) * ITL, begun + tokens * ITL))
    middles = {name: Middle.of(some) for name, some in runs.items()}
    # Whatever else the machine does adds to lateness, and nothing takes from it.
    least = {name: min(each.lateness.p99 for each in some) for name, some in runs.items()}
    rows = []
    for name, middle in middles.items():
        late = (f"{ms:.2f}" for ms in (middle.p50, least[name], middle.p99, middle.worst))
        rate = f"{median(rates):.0f}" if name == "events" else ""
        rows.append([name, f"{middle.cpu:.1f}", f"{middle.rate:.0f}", rate, *late, f"{middle.client:.0%}"])
    figures = {
        "events-rate": median(rates),
        "events-lateness": least["events"] / least["no events"],
    }
    header = ("", "us/token", "tokens/s", "events/s", "p50 late", "least p99", "p99 late", "latest", "client")
    return Result(f"KV events beside {streams} streams; lateness in milliseconds", header, rows, figures)


def _say(plan: Plan, name: str, paced: Paced) -> Paced:
    plan.say(f"{name:>10} {paced.window.cpu_per_token:6.1f} us/token, p99 {paced.lateness.p99:.2f} ms late")
    return paced
