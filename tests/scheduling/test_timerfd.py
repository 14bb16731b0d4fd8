"""Timers that are files."""

import os
import select
import sys
import time

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.scheduling import timerfd


class TimerTests(SynchronousTestCase):
    """A timer can be read when its time has come."""

    if not sys.platform.startswith("linux"):
        skip = "Only Linux has timers that are files."

    def setUp(self) -> None:
        """Make a timer."""
        self.timer = timerfd.create()
        self.addCleanup(os.close, self.timer)

    def readable(self, patience: float) -> bool:
        """Tell whether it can be read, within some seconds."""
        return bool(select.select([self.timer], [], [], patience)[0])

    def test_arm(self) -> None:
        """It can be read once, after the delay and not before, however short that is."""
        for delay in (0.004, 1e-6, 1e-12):
            begun = time.monotonic()
            timerfd.arm(self.timer, delay)
            self.assertTrue(self.readable(10))
            self.assertGreaterEqual(time.monotonic(), begun + delay)
            self.assertEqual(8, len(os.read(self.timer, 8)))
            self.assertRaises(BlockingIOError, os.read, self.timer, 8)

    def test_seconds_and_their_parts(self) -> None:
        """A delay of more than a second is not cut to its part below one."""
        timerfd.arm(self.timer, 3600.001)
        self.assertFalse(self.readable(0.01))

    def test_disarm(self) -> None:
        """A timer that is set to 0 does not come, and one that has come is forgotten."""
        timerfd.arm(self.timer, 1e-9)
        self.assertTrue(self.readable(10))
        timerfd.arm(self.timer, 0)
        self.assertFalse(self.readable(0.002))

    def test_not_inherited(self) -> None:
        """Programs that the daemon starts do not have its timers."""
        self.assertFalse(os.get_inheritable(self.timer))

    def test_no_timer(self) -> None:
        """What is no timer cannot be set."""
        reading, writing = os.pipe()
        for end in (reading, writing):
            self.addCleanup(os.close, end)
        self.assertRaises(OSError, timerfd.arm, reading, 1.0)

    def test_elsewhere(self) -> None:
        """Where there are no such timers the error is one of the operating system's."""
        self.patch(sys, "platform", "darwin")
        self.assertRaises(OSError, timerfd.create)
