# -*- test-case-name: tests.scripts.test_vllmsim -*-
"""The console script ``vllmsim``, which is ``twistd -n vllmsim`` under another name."""

import sys

from twisted.scripts.twistd import run


def main() -> None:
    """Run the daemon in the foreground with the words of the command line."""
    sys.argv[1:1] = ["--nodaemon", "--pidfile=", "vllmsim"]
    run()
