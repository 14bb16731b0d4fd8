"""Printing what was asked for."""

import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

SCRIPT = "from vllmsim.printing import print_out; raise SystemExit(print_out('x' * 100_000 + '\\n', 'p'))"


class PrintingTests(SynchronousTestCase):
    """A program whose output goes where the test says."""

    def run_(self, output: int) -> tuple[int, str]:
        """Run it.

        :return: its status, and what it says on standard error.
        """
        words = [sys.executable, "-c", SCRIPT]
        done = subprocess.run(words, stdout=output, stderr=subprocess.PIPE, text=True, check=False)
        os.close(output)
        return done.returncode, done.stderr

    def test_good(self) -> None:
        """What can be printed is, with status 0."""
        self.assertEqual((0, ""), self.run_(os.open(os.devnull, os.O_WRONLY)))

    def test_full(self) -> None:
        """On a full disk that is one line, and a status."""
        self.assertEqual(
            (1, "p: cannot print: No space left on device\n"), self.run_(os.open("/dev/full", os.O_WRONLY))
        )

    def test_enough(self) -> None:
        """For a reader who has left that is a status alone."""
        reading, writing = os.pipe()
        os.close(reading)
        self.assertEqual((1, ""), self.run_(writing))
