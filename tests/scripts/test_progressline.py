"""The line that says what goes on."""

import io
import sys

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.scripts.progressline import ProgressLine


class Terminal(io.StringIO):
    """Where somebody watches."""

    def isatty(self) -> bool:
        """Somebody does."""
        return True


class ProgressLineTests(SynchronousTestCase):
    """What is written."""

    def written(self, stream: io.StringIO) -> str:
        """Say something, and nothing more."""
        self.patch(sys, "stderr", stream)
        tell = ProgressLine()
        tell("half")
        tell("")
        return stream.getvalue()

    def test_watched(self) -> None:
        """Each text takes the place of the one before."""
        self.assertEqual("\r\x1b[Khalf\r\x1b[K", self.written(Terminal()))

    def test_alone(self) -> None:
        """Nothing is written where nobody watches."""
        self.assertEqual("", self.written(io.StringIO()))
