"""The command; what it does with a reactor is in tests.integration.test_dataset_command."""

import io
import sys

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.scripts.dataset import command
from vllmsim.scripts.dataset.faults import BadItem


class CommandTests(SynchronousTestCase):
    """Words in, a status out."""

    def setUp(self) -> None:
        """Read what is complained of."""
        self.complaint = io.StringIO()
        self.patch(sys, "stderr", self.complaint)

    def test_nonsense(self) -> None:
        """Words that make no sense are told in a line, with status 2."""
        self.assertEqual(2, self.assertRaises(SystemExit, command.run, []).code)
        expected = "vllmsim-dataset: INPUT is missing: name a file, or --input-file with --hf-repo or --local-path\n"
        self.assertEqual(expected, self.complaint.getvalue())
        self.assertEqual(2, self.assertRaises(SystemExit, command.run, ["a", "--nonsense"]).code)
        self.assertIn("unrecognized arguments: --nonsense", self.complaint.getvalue())

    def test_early(self) -> None:
        """An interrupt before anything has begun is silent."""

        def interrupt(_words: list[str]) -> None:
            raise KeyboardInterrupt

        self.patch(command, "run", interrupt)
        self.assertEqual(130, self.assertRaises(SystemExit, command.main).code)
        self.assertEqual("", self.complaint.getvalue())


class ReasonTests(SynchronousTestCase):
    """Why a record is bad."""

    def test_line(self) -> None:
        """It is told on one line that is not too long."""
        self.assertEqual("a b", BadItem("a\n  b").reason)
        self.assertEqual("x" * 300 + "...", BadItem("x" * 5000).reason)
