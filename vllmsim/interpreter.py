# -*- test-case-name: tests.test_interpreter -*-
"""Starting the same Python again, for another module of the program."""

import os
import sys


def python(module: str) -> list[str]:
    """Find the words that run a module in a Python that looks for packages where this one does, and nowhere else."""
    flags = ["-P"]
    if sys.flags.no_user_site:
        flags.append("-s")
    if sys.flags.no_site:
        flags.append("-S")
    return [sys.executable, *flags, "-m", module]


def environment() -> dict[str, str]:
    """Find the environment for it, which says what it imports, however this one was started."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
