# -*- test-case-name: tests.config.test_keys -*-
"""Files that a configuration names. What is no file is not read: it may have no end, or nothing to read for ever."""

import os
import stat
from pathlib import Path


def read_regular(path: str, most: int) -> bytes:
    """Read a file, without waiting.

    :param most: how many bytes are read.
    :raises ValueError: saying why it cannot be read.
    """
    try:
        descriptor = os.open(Path(path), os.O_RDONLY | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ValueError("it is no regular file")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                return file.read(most)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ValueError(error.strerror) from None
