# -*- test-case-name: tests.scripts.test_vllmsim -*-
"""The console script ``vllmsim``, which is ``twistd -n vllmsim`` under another name, and two commands beside it."""

import sys

from twisted.scripts.twistd import run


def main() -> None:
    """Do what the words of the command line say: run the daemon in the foreground, or something else.

    :raises SystemExit: at the end of something else.
    """
    if sys.argv[1:2] == ["bench"]:
        raise SystemExit(_bench(sys.argv[2:]))
    if sys.argv[1:2] == ["calibrate"]:
        # Likewise.
        from vllmsim.scripts.calibrate.command import run as run_calibrate  # noqa: PLC0415

        raise SystemExit(run_calibrate(sys.argv[2:]))
    sys.argv[1:1] = ["--nodaemon", "--pidfile=", "vllmsim"]
    run()


def _bench(words: list[str]) -> int:
    if words[:1] != ["clock"]:
        sys.stderr.write("Usage: vllmsim bench clock [OPTION...]; vllmsim bench clock --help says more\n")
        return 2
    # The daemon can do without it.
    from vllmsim.scripts.clock.command import run as run_clock  # noqa: PLC0415

    return run_clock(words[1:])
