# -*- test-case-name: tests.integration.test_bench -*-
"""Two rank processes against one: what a second core is good for.

The client needs a core too. Where there are two cores only, it shares that of the second rank, which costs it little:
prompts are long, so that a request is a server's work and next to none of the client's. The table says how much.
"""

from statistics import median
from typing import Final

from bench import requests
from bench.load import Window, run_closed
from bench.plan import Plan, Result
from bench.servers import vllmsim_ranks

_ROUNDS: Final = 5
_SECONDS: Final = 1.0
_CONNECTIONS: Final = 16
"""Of each rank."""
_QUESTION: Final = "A prompt of some length makes a server work, and a client that only sends it need not. " * 30


def measure(plan: Plan) -> Result:
    """Compare one rank that is busy with two, each on a core of its own."""
    request = requests.chat(stream=False, max_tokens=requests.SHORT, question=_QUESTION)
    found: dict[int, list[Window]] = {1: [], 2: []}
    with vllmsim_ranks((plan.cores.server, plan.cores.second)) as server:
        for _ in range(plan.rounds or _ROUNDS):
            for count, windows in found.items():
                ports = server.ports[:count]
                windows.append(
                    run_closed(
                        ports, server.pid, request, connections=_CONNECTIONS * count, seconds=plan.seconds or _SECONDS
                    )
                )
                plan.say(f"{count:9} {windows[-1].answers_per_second:8.0f} a second")
    rates = {count: median([window.answers_per_second for window in windows]) for count, windows in found.items()}
    shares = {count: median([window.client_share for window in windows]) for count, windows in found.items()}
    rows = [
        [str(count), f"{rates[count]:.0f}", f"{rates[count] / rates[1]:.2f}", f"{shares[count]:.0%}"] for count in found
    ]
    header = ("processes", "answers a second", "/ one", "client")
    return Result("Two rank processes against one", header, rows, {"ranks": rates[2] / rates[1]})
