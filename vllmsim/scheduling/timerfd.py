# -*- test-case-name: tests.scheduling.test_timerfd -*-
"""Linux's timers that are files: a reactor can wait for one as for a socket, and hears of it within microseconds.

Python has them from 3.13 on; before, the C library is asked.
"""

import errno
import math
import os
import sys
import time
from typing import Final

_BILLION: Final = 1_000_000_000


def create() -> int:
    """Make a timer.

    :return: its file descriptor, to be closed by the caller.
    :raises OSError: when there are none on this platform, or no more.
    """
    if not sys.platform.startswith("linux"):
        raise OSError(errno.ENOSYS, "This platform has no timers that are files.")
    return _create()


def arm(timer: int, delay: float) -> None:
    """Have a timer become readable, once; forget what it was set to before, and that it is readable.

    :param delay: seconds from now, of which none is lost to rounding; 0 for never.
    :raises OSError: when it is no timer.
    """
    _arm(timer, math.ceil(delay * _BILLION))


if sys.version_info >= (3, 13):

    def _create() -> int:
        return os.timerfd_create(time.CLOCK_MONOTONIC, flags=os.TFD_NONBLOCK | os.TFD_CLOEXEC)

    def _arm(timer: int, nanoseconds: int) -> None:
        os.timerfd_settime_ns(timer, initial=nanoseconds)

else:
    import ctypes

    class _Time(ctypes.Structure):
        _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))

    class _Setting(ctypes.Structure):
        _fields_ = (("interval", _Time), ("initial", _Time))

    _libc = ctypes.CDLL(None, use_errno=True)

    def _create() -> int:
        # The flags for "do not block" and "close when another program is run" are those of all files.
        return _checked(_libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC))

    def _arm(timer: int, nanoseconds: int) -> None:
        setting = _Setting(_Time(0, 0), _Time(*divmod(nanoseconds, _BILLION)))
        _checked(_libc.timerfd_settime(timer, 0, ctypes.byref(setting), None))

    def _checked(result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result
