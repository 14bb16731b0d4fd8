# -*- test-case-name: tests.processes.test_assignment -*-
"""What a rank's process is told by the process that supervises it: which rank it is, and the whole configuration.

The configuration is handed over as it was read, so that every rank has the same one: the file that it came from may
be a pipe, or have changed when a rank is started again.
"""

import pickle
from typing import BinaryIO

from attrs import frozen

from vllmsim.config.schema import Configuration


@frozen
class Assignment:
    """One rank, and all that it needs to know.

    :param rank: its number.
    :param seed: the daemon's seed.
    :param report: seconds between two looks at what it has to do, of which it tells; 0 if nobody wants to know.
    :param trusted: the supervisor's certificate, as PEM, where a rank asks its clients for one.
    """

    rank: int
    seed: int
    configuration: Configuration
    report: float = 0.0
    trusted: bytes = b""

    def to_bytes(self) -> bytes:
        """Write it for :meth:`read`, in the same program."""
        return pickle.dumps(self)

    @classmethod
    def read(cls, stream: BinaryIO) -> "Assignment":
        """Read it from a stream that goes on behind it. The stream must be a parent's: pickles can run anything.

        :raises EOFError: when the stream ends before.
        """
        try:
            assignment = pickle.load(stream)  # noqa: S301 - see above
        except pickle.UnpicklingError as error:
            raise EOFError from error
        assert isinstance(assignment, cls)
        return assignment
