"""Folders for tests that need files."""

import os
import shutil
from pathlib import Path
from tempfile import mkdtemp

from twisted.trial.unittest import SynchronousTestCase


def make_folder(case: SynchronousTestCase) -> Path:
    """Make an empty folder that is there as long as a test runs."""
    folder = Path(mkdtemp()).resolve()
    case.addCleanup(shutil.rmtree, folder, ignore_errors=True)
    return folder


def fill_disk(case: SynchronousTestCase, room: int) -> None:
    """Have a disk be full in the middle of the next write; then there is room again.

    :param room: how many bytes of it there are before.
    """
    left = [room, 0]
    write = os.write

    def write_some(descriptor: int, data: bytes) -> int:
        if not left:
            return write(descriptor, data)
        if not left[0]:
            left.pop(0)
            raise OSError(28, "No space left on device")
        return write(descriptor, data[: left.pop(0)])

    case.patch(os, "write", write_some)
