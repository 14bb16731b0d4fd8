# -*- test-case-name: tests.dataset.test_effort -*-
"""How much SQLite may do for a statement.

What a file says of its tables may be a program: views count without end, and a file may say that one is a table. So
work is bounded, as SQLite counts it, and not time, which depends on who else works.
"""

import sqlite3
from typing import Final

from attrs import define

_STEPS: Final = 1_000_000
"""How many steps are done between two looks: about ten milliseconds, as each look takes the interpreter's lock."""
_FOR_ALL: Final = 10
"""Steps for each byte of a file that is gone through: twice what the smallest rows take."""
_FOR_ONE: Final = 2 * _STEPS
"""Steps for a row that is found by its number, or for looking at the schema: a thousand times what these take."""


@define(eq=False)
class Effort:
    """Counts the steps of a connection, and stops what takes more than it may."""

    _left: int = 0

    def watch(self, connection: sqlite3.Connection) -> None:
        """Look at what a connection does. What is stopped raises ``sqlite3.OperationalError``: interrupted."""
        connection.set_progress_handler(self._look, _STEPS)

    def go_through(self, size: int) -> None:
        """Allow as much as it takes to go through a file.

        :param size: its bytes.
        """
        self._left = _FOR_ONE + _FOR_ALL * size

    def find(self) -> None:
        """Allow as much as it takes to read a row, or the schema."""
        self._left = _FOR_ONE

    def _look(self) -> bool:
        self._left -= _STEPS
        return self._left < 0
