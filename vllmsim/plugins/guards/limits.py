# -*- test-case-name: tests.plugins.guards.test_limits -*-
"""How long a plugin may take where everybody waits for it."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final, TypeVar

from vllmsim.plugins.guards.blame import Nonsense

T = TypeVar("T")

_MOST_RINGS: Final = 100
"""So that it ends some time, whatever becomes of it."""


class Overdue(Nonsense):
    """A plugin did not come back in time."""


def within(seconds: float, function: Callable[..., T], *arguments: Any) -> T:
    """Call something, and have it end if it takes too long. That takes a signal, which the main thread alone may have.

    What cannot be interrupted, such as a long call of a library in C, ends when it does.

    :param seconds: how long it may take, of real time.
    :raises Overdue: when it takes longer.
    """
    if threading.current_thread() is not threading.main_thread():
        return function(*arguments)
    rings = _MOST_RINGS

    def ring(_number: int, _frame: FrameType | None) -> None:
        nonlocal rings
        if rings:
            rings -= 1
            raise Overdue(f"it takes more than {seconds:g} s to answer")

    before = signal.signal(signal.SIGALRM, ring)
    # What is raised may be lost, in a destructor or to a plugin that catches everything: then it rings again.
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        try:
            return function(*arguments)
        finally:
            rings = 0
    finally:
        rings = 0
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
