"""Folders for tests that need files."""

import shutil
from pathlib import Path
from tempfile import mkdtemp

from twisted.trial.unittest import SynchronousTestCase


def make_folder(case: SynchronousTestCase) -> Path:
    """Make an empty folder that is there as long as a test runs."""
    folder = Path(mkdtemp()).resolve()
    case.addCleanup(shutil.rmtree, folder, ignore_errors=True)
    return folder
