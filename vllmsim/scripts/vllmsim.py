# -*- test-case-name: tests.scripts.test_vllmsim -*-
"""The console script ``vllmsim``, which is ``twistd -n vllmsim`` under another name, and ``vllmsim bench clock``."""

import sys

from twisted.scripts.twistd import run


def main() -> None:
    """Do what the words of the command line say: run the daemon in the foreground, or a benchmark.

    :raises SystemExit: at the end of a benchmark.
    """
    if sys.argv[1:2] == ["bench"]:
        raise SystemExit(_bench(sys.argv[2:]))
    sys.argv[1:1] = ["--nodaemon", "--pidfile=", "vllmsim"]
    run()


def _bench(words: list[str]) -> int:
    if words[:1] != ["clock"]:
        sys.stderr.write("Usage: vllmsim bench clock [OPTION...]; vllmsim bench clock --help says more\n")
        return 2
    # The daemon can do without it.
    from vllmsim.scripts.clock.command import run as run_clock  # noqa: PLC0415

    return run_clock(words[1:])
