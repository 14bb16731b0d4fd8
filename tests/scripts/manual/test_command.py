"""The command that writes the files of the package."""

import io
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.folders import make_folder
from vllmsim.scripts.manual import pages
from vllmsim.scripts.manual.command import files, run


class CommandTests(SynchronousTestCase):
    """``python -m vllmsim.scripts.manual``."""

    def test_files(self) -> None:
        """It writes everything into a folder, with the date that the build has; equal builds write equal files."""
        folder = make_folder(self)
        self.assertEqual(0, run([str(folder)], {"SOURCE_DATE_EPOCH": "1700000000"}))
        self.assertEqual(sorted(files("")), sorted(path.name for path in folder.iterdir()))
        self.assertEqual(pages.daemon("2023-11-14"), folder.joinpath("vllmsim.1").read_text("utf-8"))

    def test_today(self) -> None:
        """Without one it is today's."""
        folder = make_folder(self)
        self.assertEqual(0, run([str(folder)], {}))
        self.assertRegex(folder.joinpath("vllmsim.1").read_text("utf-8"), r'^\.TH VLLMSIM 1 "20\d\d-\d\d-\d\d" ')

    def test_words(self) -> None:
        """It wants one word."""
        complaint = io.StringIO()
        self.patch(sys, "stderr", complaint)
        self.assertEqual(2, run([], {}))
        self.assertIn("FOLDER", complaint.getvalue())
