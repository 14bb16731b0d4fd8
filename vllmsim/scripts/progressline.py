# -*- test-case-name: tests.scripts.test_progressline -*-
"""A line that says what goes on."""

import sys


class ProgressLine:
    """It is on standard error, where somebody watches."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()

    def __call__(self, text: str) -> None:
        """Replace the line; an empty text takes it away."""
        if self._shown:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()
