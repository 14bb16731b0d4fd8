"""Sockets as systemd passes them, in the process of the test."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.internet import endpoints
from twisted.python.systemd import ListenFDs
from twisted.trial.unittest import SynchronousTestCase


class InheritingTestCase(SynchronousTestCase):
    """Tests that systemd has started."""

    def opened(self, family: socket.AddressFamily = socket.AF_INET, *, abstract: bool = False) -> int:
        """Open a socket.

        :return: its descriptor, which the test has to close, or who takes it.
        """
        opened = socket.socket(family)
        if family == socket.AF_UNIX:
            folder = TemporaryDirectory()
            self.addCleanup(folder.cleanup)
            opened.bind(f"\0vllmsim-{folder.name}" if abstract else str(Path(folder.name, "socket")))
        else:
            opened.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        opened.listen()
        return self.close_later(opened.detach())

    def close_later(self, descriptor: int) -> int:
        """Close a descriptor after the test, if it is still what it was."""
        facts = os.fstat(descriptor)

        def close() -> None:
            try:
                if os.path.samestat(os.fstat(descriptor), facts):
                    os.close(descriptor)
            except OSError:
                pass

        self.addCleanup(close)
        return descriptor

    def inherit(self, **sockets: int) -> Mapping[str, str]:
        """Have Twisted find sockets by their names.

        :return: what it leaves in the environment.
        """
        self.patch(endpoints._SystemdParser, "_sddaemon", ListenFDs(list(sockets.values()), list(sockets)))
        return {"LISTEN_FDNAMES": ":".join(sockets)}
