"""Starting the same Python again."""

import subprocess
import sys
from collections import namedtuple

from twisted.trial.unittest import SynchronousTestCase

from tests.folders import make_folder
from vllmsim.interpreter import environment, python

Flags = namedtuple("Flags", ("no_site", "no_user_site"))  # noqa: PYI024 - as that of sys


class InterpreterTests(SynchronousTestCase):
    """What another process imports."""

    def test_words(self) -> None:
        """It leaves out what this one does: the packages of the machine, and those of the user."""
        self.patch(sys, "flags", Flags(no_site=0, no_user_site=0))
        self.assertEqual([sys.executable, "-P", "-m", "a.b"], python("a.b"))
        self.patch(sys, "flags", Flags(no_site=1, no_user_site=1))
        self.assertEqual([sys.executable, "-P", "-s", "-S", "-m", "a.b"], python("a.b"))

    def test_path(self) -> None:
        """It looks for packages where this one does, also in a folder that was added while it ran."""
        folder = make_folder(self)
        folder.joinpath("lonely.py").write_text("print('found')")
        self.patch(sys, "path", [*sys.path, str(folder)])
        found = subprocess.run(python("lonely"), env=environment(), cwd="/", capture_output=True, text=True, check=True)
        self.assertEqual("found\n", found.stdout)
