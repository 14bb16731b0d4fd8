# -*- test-case-name: tests.bench.test_main -*-
"""Measure what vllmsim costs, beside controls that run on the same machine in the same minutes."""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from bench import (
    closed,
    dataset,
    grpc,
    kvevents,
    memory,
    paced,
    prefix,
    ranks,
    report,
    request_cost,
    saturation,
    soak,
    stalled,
    stalls,
    startup,
    steps,
    virtual,
)
from bench.building import HERE, CannotBuildError, build
from bench.load import LoadError
from bench.machine import Cores, Others, allow_many_files, describe, pin
from bench.plan import Plan, Result
from bench.servers import ServerError

MEASUREMENTS: Final[Mapping[str, Callable[[Plan], Result]]] = {
    "paced": paced.measure,
    "saturation": saturation.measure,
    "burst": closed.measure_bursts,
    "whole": closed.measure_whole,
    "ranks": ranks.measure,
    "memory": memory.measure,
    "startup": startup.measure,
    "metrics": stalls.measure_metrics,
    "prompt": stalls.measure_prompt,
    "prefix": prefix.measure,
    "steps": steps.measure,
    "request-cost": request_cost.measure_all,
    "events": kvevents.measure,
    "grpc": grpc.measure_paced,
    "grpc-burst": grpc.measure_bursts,
    "grpc-calls": grpc.measure_calls,
}
ON_REQUEST: Final[Mapping[str, Callable[[Plan], Result]]] = {
    "stalled": stalled.measure,
    "soak": soak.measure,
    "dataset": dataset.measure,
    "virtual": virtual.measure,
}
"""What is measured only when it is named, because it takes long."""
_RESULTS: Final = HERE / "results.md"
_NOISE: Final = 0.05
_FILES: Final = 8192
"""How many must be open at once in the largest run."""


def parse_arguments(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog="Without names everything but {} is measured, in some six minutes, and bench/results.md is "
        "written.".format(" and ".join(ON_REQUEST)),
    )
    names = ", ".join([*MEASUREMENTS, *ON_REQUEST])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", choices=[[], *MEASUREMENTS, *ON_REQUEST], help=f"one of {names}"
    )
    parser.add_argument("--streams", type=int, nargs="+", metavar="N", help="how many at once, where that is a choice")
    parser.add_argument("--tokens", type=int, metavar="N", help="how many tokens a stream has")
    parser.add_argument("--rounds", type=int, metavar="N", help="how often each server has its turn")
    parser.add_argument("--seconds", type=float, metavar="S", help="how long such a turn is, where that is a choice")
    parser.add_argument("--alone", action="store_true", help="measure vllmsim without the controls")
    return parser.parse_args(words)


def main(words: Sequence[str]) -> int:
    """Measure what is named, or everything.

    :return: the exit status.
    """
    arguments = parse_arguments(words)
    if sys.platform != "linux":
        print(
            "The benchmark needs Linux: it keeps processes on cores, and reads their times in /proc.", file=sys.stderr
        )
        return 1
    usable = os.sched_getaffinity(0)
    cores = Cores.of(usable)
    others = Others(cores.used or usable)
    if cores.server is None:
        print("There is one core only: server and client share it, and the figures say little about either.")
    machine = describe(cores)
    print("\n".join(f"{name}: {fact}" for name, fact in machine.items()))
    if allow_many_files() < _FILES:
        print(f"Only {allow_many_files()} files may be open; the largest runs need {_FILES} (see ulimit -n).")
    pin(cores.client)
    begun = time.monotonic()
    results: list[Result] = []
    try:
        for program in ("client", "calls", "control"):
            build(program)
        for name in arguments.names or MEASUREMENTS:
            print(f"\n{name}, after {time.monotonic() - begun:.0f} s")
            plan = Plan(
                cores,
                streams=arguments.streams,
                tokens=arguments.tokens,
                rounds=arguments.rounds,
                seconds=arguments.seconds,
                controls=not arguments.alone,
            )
            results.append({**MEASUREMENTS, **ON_REQUEST}[name](plan))
            print(f"\n{results[-1].title}\n\n{results[-1].table()}")
    except (CannotBuildError, LoadError, ServerError, subprocess.SubprocessError) as error:
        print(error, file=sys.stderr)
        return 1
    figures = {name: figure for result in results for name, figure in result.figures.items()}
    if figures:
        print(f"\n{report.summary(figures).table()}")
    machine["others"] = f"{others.share():.0%} of the cores' time went to other processes"
    print(f"\n{time.monotonic() - begun:.0f} s; {machine['others']}")
    if others.share() > _NOISE:
        print("Figures are worth little beside that much: run it again when the machine does nothing else.")
    if not arguments.names:
        _RESULTS.write_text(report.page(machine, results, datetime.now(UTC).date()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
