# -*- test-case-name: tests.processes.test_wire -*-
"""How the supervisor and a rank's process speak to each other about the configuration and the load, over two pipes.

Messages are JSON objects, each behind its length as four bytes. A rank asks, says what it has, and, where that is
wanted, how many sequences run and wait::

    {"ask": 1, "method": "change", "arguments": [...]}
    {"has": 7}
    {"load": [3, 1]}

The supervisor answers, and tells which configuration holds::

    {"answer": 1, "value": ...}
    {"answer": 1, "error": "InvalidRequest", "message": ..., "param": ...}
    {"version": 7, "configuration": ...}
"""

import base64
import json
import pickle
from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.protocols.basic import Int32StringReceiver

from vllmsim.config.schema import Configuration

ASKING: Final = 4
"""The descriptor of a rank's process on which it speaks."""
TOLD: Final = 5
"""The one on which it is spoken to."""

Message = Mapping[str, Any]


class Wire(Int32StringReceiver):
    """One end of it.

    :param received: is called for each message of the other end.
    """

    MAX_LENGTH = 1 << 26

    def __init__(self, received: Callable[[Message], object]) -> None:
        self._received = received

    def stringReceived(self, string: bytes) -> None:
        """Take a message."""
        self._received(json.loads(string))

    def send(self, **members: Any) -> None:
        """Send a message. Harmless when nobody is there."""
        if self.transport is not None:
            self.sendString(json.dumps(members, default=str).encode())


def pack(configuration: Configuration) -> str:
    """Write a configuration for :func:`unpack`, in the same program."""
    return base64.b64encode(pickle.dumps(configuration)).decode()


def unpack(text: str) -> Configuration:
    """Read a configuration. It must be from this process's parent: pickles can run anything."""
    configuration = pickle.loads(base64.b64decode(text))  # noqa: S301 - see above
    assert isinstance(configuration, Configuration)
    return configuration
