"""Listening."""

import os
import socket
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactor

from tests.systemd.inheriting import InheritingTestCase
from vllmsim.listening import Listener, StartError


class ListenerTests(InheritingTestCase):
    """What listens, and what cannot."""

    def setUp(self) -> None:
        """Have a reactor."""
        self.reactor = MemoryReactor()

    def start(self, endpoint: str) -> Listener:
        """Make a listener and start it."""
        listener = Listener(endpoint, Factory(), self.reactor)
        listener.privilegedStartService()
        listener.startService()
        return listener

    def test_listens(self) -> None:
        """It listens once, from its start to its stop."""
        listener = self.start("tcp:8000:interface=127.0.0.1")
        [(port, _, _, host)] = self.reactor.tcpServers
        self.assertEqual((8000, "127.0.0.1"), (port, host))
        self.successResultOf(listener.stopService())

    def test_cannot_listen(self) -> None:
        """A port that is taken is an error of one line."""

        def refuse(*_: Any, **__: Any) -> None:
            raise CannotListenError("", 8000, OSError(98, "Address already in use"))

        self.reactor.listenTCP = refuse  # type: ignore[method-assign]
        error = self.assertRaises(StartError, self.start, "tcp:8000")
        self.assertEqual("vllmsim: cannot listen on 'tcp:8000': Address already in use", str(error))

    def test_no_folder(self) -> None:
        """A unix socket in a folder that is not there is an error of one line."""

        def refuse(*_: Any, **__: Any) -> None:
            raise FileNotFoundError(2, "No such file or directory", "/no/such/x.lock")

        self.reactor.listenUNIX = refuse  # type: ignore[method-assign]
        error = self.assertRaises(StartError, self.start, "unix:/no/such/x")
        self.assertEqual("vllmsim: cannot listen on 'unix:/no/such/x': No such file or directory", str(error))

    def test_passed(self) -> None:
        """A socket that systemd has opened is served; one that is not there is an error of one line."""
        descriptor = self.opened()
        self.patch(os, "environ", {**os.environ, **self.inherit(http=descriptor)})
        listener = self.start("systemd:domain=INET:name=http")
        [(number, family, _)] = self.reactor.adoptedPorts
        self.assertEqual((descriptor, socket.AF_INET), (number, family))
        self.successResultOf(listener.stopService())
        error = self.assertRaises(StartError, self.start, "systemd:domain=UNIX:name=web")
        self.assertEqual(
            "vllmsim: cannot listen on 'systemd:domain=UNIX:name=web': systemd has passed no socket named 'web', but"
            " 'http'",
            str(error),
        )

    def test_no_endpoint(self) -> None:
        """An endpoint that is none is an error of one line."""
        error = self.assertRaises(StartError, self.start, "carrier-pigeon:8000")
        self.assertIn("cannot listen on 'carrier-pigeon:8000'", str(error))
