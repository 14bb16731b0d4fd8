"""The console script."""

import io
import sys

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.scripts import vllmsim
from vllmsim.scripts.calibrate import command as calibrate
from vllmsim.scripts.clock import command


class MainTests(SynchronousTestCase):
    """What it runs."""

    def test_words(self) -> None:
        """It runs twistd in the foreground, without a pid file, with the words it was given."""
        seen: list[list[str]] = []
        self.patch(sys, "argv", ["vllmsim", "serve", "m", "--port", "1"])
        self.patch(vllmsim, "run", lambda: seen.append(list(sys.argv)))
        vllmsim.main()
        self.assertEqual([["vllmsim", "--nodaemon", "--pidfile=", "vllmsim", "serve", "m", "--port", "1"]], seen)

    def test_bench(self) -> None:
        """With ``bench clock`` it is the benchmark, with the words behind that, and its status is the program's."""
        seen: list[list[str]] = []

        def measure(words: list[str]) -> int:
            seen.append(words)
            return 1

        self.patch(command, "run", measure)
        self.patch(sys, "argv", ["vllmsim", "bench", "clock", "--streams", "3"])
        self.assertEqual(1, self.assertRaises(SystemExit, vllmsim.main).code)
        self.assertEqual([["--streams", "3"]], seen)

    def test_calibrate(self) -> None:
        """With ``calibrate`` it is that command, with the words behind it."""
        seen: list[list[str]] = []

        def fit(words: list[str]) -> int:
            seen.append(words)
            return 3

        self.patch(calibrate, "run", fit)
        self.patch(sys, "argv", ["vllmsim", "calibrate", "run.json"])
        self.assertEqual(3, self.assertRaises(SystemExit, vllmsim.main).code)
        self.assertEqual([["run.json"]], seen)

    def test_no_bench(self) -> None:
        """Other benchmarks there are none."""
        complaint = io.StringIO()
        self.patch(sys, "stderr", complaint)
        self.patch(sys, "argv", ["vllmsim", "bench", "serve"])
        self.assertEqual(2, self.assertRaises(SystemExit, vllmsim.main).code)
        self.assertIn("Usage: vllmsim bench clock", complaint.getvalue())
