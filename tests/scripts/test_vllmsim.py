"""The console script."""

import sys

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.scripts import vllmsim


class MainTests(SynchronousTestCase):
    """What it runs."""

    def test_words(self) -> None:
        """It runs twistd in the foreground, without a pid file, with the words it was given."""
        seen: list[list[str]] = []
        self.patch(sys, "argv", ["vllmsim", "serve", "m", "--port", "1"])
        self.patch(vllmsim, "run", lambda: seen.append(list(sys.argv)))
        vllmsim.main()
        self.assertEqual([["vllmsim", "--nodaemon", "--pidfile=", "vllmsim", "serve", "m", "--port", "1"]], seen)
