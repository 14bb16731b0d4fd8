"""The end of a daemon that cannot go on."""

import atexit
import os
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.leaving import leave_with


class LeavingTests(SynchronousTestCase):
    """The process's status."""

    def test_leave(self) -> None:
        """The status is that of the process when everything else is done."""
        registered: list[tuple[Any, ...]] = []
        self.patch(atexit, "register", lambda *arguments: registered.append(arguments))
        leave_with(1)
        self.assertEqual([(os._exit, 1)], registered)
