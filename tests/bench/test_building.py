"""Programs in C."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from bench.building import CannotBuildError, build


class BuildTests(SynchronousTestCase):
    """What is said when they cannot be built."""

    def refusal(self, compiler: str) -> str:
        """Build with a compiler, and read what is said."""
        self.patch(os, "environ", {**os.environ, "CC": compiler})
        with TemporaryDirectory() as folder:
            return str(self.assertRaises(CannotBuildError, build, "client", Path(folder)))

    def test_no_compiler(self) -> None:
        """Without a compiler one is told to install one."""
        self.assertIn("install one", self.refusal("no-such-compiler"))

    def test_compiler_fails(self) -> None:
        """A compiler that fails is named, with the program."""
        self.assertIn("false cannot compile client.c", self.refusal("false"))
