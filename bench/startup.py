# -*- test-case-name: tests.integration.test_bench -*-
"""How long it takes from starting twistd to the first 200 on ``/health``."""

import time
from statistics import median
from typing import Final

from bench.plan import Plan, Result
from bench.servers import Start, bare_twisted, record, vllmsim

_ROUNDS: Final = 7


def measure(plan: Plan) -> Result:
    """Start vllmsim and a bare Protocol in turn."""
    times: dict[str, list[float]] = {}
    with vllmsim(plan.cores.server, 1) as server:
        script = record(server, 0)
    starts: dict[str, Start] = {"vllmsim": lambda core, _: vllmsim(core)}
    if plan.controls:
        starts["twisted"] = bare_twisted
    for _ in range(plan.rounds or _ROUNDS):
        for name, start in starts.items():
            begun = time.monotonic()
            with start(plan.cores.server, script):
                times.setdefault(name, []).append((time.monotonic() - begun) * 1e3)
            plan.say(f"{name:>9} {times[name][-1]:.0f} ms")
    rows = [[name, f"{min(some):.0f} ms", f"{median(some):.0f} ms"] for name, some in times.items()]
    return Result(
        "From the start to the first answer", ("server", "best", "median"), rows, {"startup": median(times["vllmsim"])}
    )
