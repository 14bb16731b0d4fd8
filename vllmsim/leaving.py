# -*- test-case-name: tests.test_leaving -*-
"""The end of a daemon that cannot go on."""

import atexit
import os


def leave_with(status: int) -> None:
    """Have the process end with a status when all else is done; twistd always ends with 0."""
    atexit.register(os._exit, status)
