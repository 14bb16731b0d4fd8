"""``python -m bench``: measure what vllmsim costs, beside controls that run on the same machine at the same time."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from bench import closed, paced
from bench.building import CannotBuildError, build
from bench.load import LoadError
from bench.machine import Cores, allow_many_files, describe, pin
from bench.plan import Plan, Result
from bench.servers import ServerError

MEASUREMENTS: Final[Mapping[str, Callable[[Plan], Result]]] = {
    "paced": paced.measure,
    "burst": closed.measure_bursts,
    "whole": closed.measure_whole,
}


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        choices=[[], *MEASUREMENTS],
        help=f"what to measure: {', '.join(MEASUREMENTS)}",
    )
    parser.add_argument(
        "--streams", type=int, nargs="+", help="how many streams or connections, instead of the usual numbers"
    )
    parser.add_argument("--tokens", type=int, help="how many tokens each stream has")
    parser.add_argument("--rounds", type=int, help="how often each server has its turn")
    parser.add_argument("--alone", action="store_true", help="measure vllmsim without the controls")
    return parser.parse_args(words)


def main(words: Sequence[str]) -> int:
    """Measure what is named, or everything.

    :return: the exit status.
    """
    arguments = _arguments(words)
    cores = Cores.of(os.sched_getaffinity(0))
    if cores.server is None:
        print("There is one core only: server and client share it, and the figures say little about either.")
    facts = describe(cores)
    plan = Plan(
        cores,
        streams=arguments.streams,
        tokens=arguments.tokens,
        rounds=arguments.rounds,
        controls=not arguments.alone,
    )
    allow_many_files()
    pin(cores.client)
    print("; ".join(f"{name} {value}" for name, value in facts.items()))
    begun = time.monotonic()
    try:
        for program in ("client", "control"):
            build(program)
        for name in arguments.names or MEASUREMENTS:
            result = MEASUREMENTS[name](plan)
            print(f"\n{result.title}\n\n{result.table()}\n{result.figures}\n")
    except (CannotBuildError, LoadError, ServerError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{time.monotonic() - begun:.0f} seconds")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
