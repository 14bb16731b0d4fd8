# -*- test-case-name: tests.test_leaving -*-
"""The end of a daemon that cannot go on, or is to go no further."""

import atexit
import os
import signal


def leave_with(status: int) -> None:
    """Have the process end with a status when all else is done; twistd always ends with 0."""
    atexit.register(os._exit, status)


def ask_to_stop(*, supervised: bool) -> None:
    """Have the daemon stop in order, as if its operator had sent the signal for that.

    :param supervised: whether this process has one rank of it, and its parent is the daemon.
    """
    os.kill(os.getppid() if supervised else os.getpid(), signal.SIGTERM)
