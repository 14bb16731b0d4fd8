"""The end of a daemon that cannot go on, or is to go no further."""

import atexit
import os
import signal
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.leaving import ask_to_stop, leave_with


class LeavingTests(SynchronousTestCase):
    """The process's status."""

    def test_leave(self) -> None:
        """The status is that of the process when everything else is done."""
        registered: list[tuple[Any, ...]] = []
        self.patch(atexit, "register", lambda *arguments: registered.append(arguments))
        leave_with(1)
        self.assertEqual([(os._exit, 1)], registered)

    def test_ask(self) -> None:
        """A daemon that is to stop is sent the signal for that: by itself, or by a rank that it has started."""
        sent: list[tuple[int, int]] = []
        self.patch(os, "kill", lambda *arguments: sent.append(arguments))
        ask_to_stop(supervised=False)
        ask_to_stop(supervised=True)
        self.assertEqual([(os.getpid(), signal.SIGTERM), (os.getppid(), signal.SIGTERM)], sent)
