"""What is seen of a daemon that does not bear what it is sent."""

import os

from tests.fuzz.daemon import FuzzTestCase
from tests.fuzz.report import Figures


class LookTests(FuzzTestCase):
    """Daemons of which each has something wrong."""

    surface = "HTTP bytes"

    def setUp(self) -> None:
        """Start one that may go wrong."""
        self.daemon = self.start(*self.words)
        self.daemon.wait()
        self._read = 0
        self.resident, self.descriptors = self.daemon.resident(), self.daemon.descriptors()

    def test_log(self) -> None:
        """A fault that the log tells of is found, once."""
        os.write(self.daemon.log.fileno(), b"2026 [x#info] all is well\n")
        self.look()
        os.write(self.daemon.log.fileno(), b"2026 [x#critical] all is lost\n")
        self.assertRaises(AssertionError, self.look)
        self.look()

    def test_ended(self) -> None:
        """So is that it has ended."""
        self.daemon.stop()
        self.assertIn("has ended", str(self.assertRaises(AssertionError, self.look)))

    def test_left(self) -> None:
        """So are descriptors that stay open, and memory that stays taken."""
        figures = Figures(self.surface)
        self.survived(figures)
        # One more than there may have been on their way out when they were counted.
        for _ in range(3):
            self.raw(b"GET")
        self.settle(lambda: self.daemon.descriptors() > self.descriptors, "it is not there")
        self.patience = 0.1
        self.assertIn("descriptors", str(self.assertRaises(AssertionError, self.survived, figures)))
        self.patience = FuzzTestCase.patience
        self.descriptors = self.daemon.descriptors()
        self.resident -= self.most_growth
        self.assertIn("resident", str(self.assertRaises(AssertionError, self.survived, figures)))
