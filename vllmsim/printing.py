# -*- test-case-name: tests.test_printing -*-
"""Prints what a program was asked for. That its output cannot be written is a line on standard error, and a status."""

import os
import sys
from typing import Final

_FAILED: Final = 1


def print_out(text: str, program: str = "vllmsim") -> int:
    """Print to standard output.

    :param program: who says that this cannot be.
    :return: the status to end with. Whoever reads may have read enough: that is said by the status alone.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            sys.stderr.write(f"{program}: cannot print: {error.strerror}\n")
        # What is left would be tried again at the end, and tell of that with a status of its own.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return _FAILED
    return 0
