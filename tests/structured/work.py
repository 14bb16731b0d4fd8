"""How much work a piece of code does, counted and not timed: a busy machine counts the same."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from attrs import define

MOST_CALLS: Final = 250_000
"""Calls that take some 30 ms: no schema and no expression may take more."""


@define
class Work:
    """What has been done.

    :param calls: how many functions have been called, those of the interpreter too.
    """

    calls: int = 0

    def count(self, frame: Any, event: str, argument: Any) -> None:
        """Hear of a call or a return."""
        self.calls += event in ("call", "c_call")


@contextmanager
def counted() -> Iterator[Work]:
    """Count the work that is done inside."""
    work = Work()
    before = sys.getprofile()
    sys.setprofile(work.count)
    try:
        yield work
    finally:
        sys.setprofile(before)
