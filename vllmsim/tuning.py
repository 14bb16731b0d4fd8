# -*- test-case-name: tests.test_tuning -*-
"""How Python's collector of garbage and its threads are set, so that neither holds up tokens."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_SWITCH: Final = 0.0005
"""Seconds that one thread computes while another wants to; Python's own is ten times as long."""
_MORE_THAN_FREED: Final = 10_000
"""How many objects are made beyond those that are freed before the young ones are looked through for garbage."""


@contextmanager
def building() -> Iterator[None]:
    """Have nobody look for garbage among what is made within: it stays, and looking would take a fifth of the start."""
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()
    # Looking for garbage among thousands of streams takes longer than the gaps between their tokens.
    gc.set_threshold(_MORE_THAN_FREED, 20, 100)
    # A thread that cuts a long prompt lets the reactor go on this soon at each of its system calls.
    sys.setswitchinterval(_SWITCH)
