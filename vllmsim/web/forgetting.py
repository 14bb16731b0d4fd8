# -*- test-case-name: tests.web.test_request -*-
"""Errors that were told, and what they would keep."""

from traceback import clear_frames

from twisted.python.failure import Failure


def forget_way(reason: Failure) -> None:
    """Have an error that was told keep nothing of the way it came.

    There are the request, its body and what was read of that, some of which refers to the error again: all of it would
    stay until the collector of garbage comes by, who does not come for a few objects, however large they are.
    """
    reason.tb = None
    errors: list[BaseException | None] = [reason.value]
    for error in errors:
        if error is not None and error.__traceback__ is not None:
            clear_frames(error.__traceback__)
            error.__traceback__ = None
            errors += [error.__context__, error.__cause__]
