"""Listening."""

import atexit
import os
import socket
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests.systemd.inheriting import InheritingTestCase
from vllmsim import listening
from vllmsim.listening import Listener, StartError, keyring_for


class ListenerTests(InheritingTestCase):
    """What listens, and what cannot."""

    def setUp(self) -> None:
        """Have a reactor."""
        self.reactor = MemoryReactorClock()

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
        """An endpoint that is none is an error of one line, which names those that there are."""
        error = self.assertRaises(StartError, self.start, "carrier-pigeon:8000")
        self.assertIn("cannot listen on 'carrier-pigeon:8000': 'carrier-pigeon' is no kind of endpoint", str(error))
        kinds = str(error).partition("; there are ")[2].split(", ")
        self.assertLess({"tcp", "tcp6", "tls", "ssl", "unix", "systemd", "selfsignedtls", "reloadingtls"}, set(kinds))
        self.assertRaises(StartError, self.start, "tcp:\\")
        self.assertRaises(StartError, self.start, "tcp")

    def test_tls(self) -> None:
        """Endpoints of ours listen, also where Twisted finds no plugins; what is wrong with one is said in a line."""
        self.patch(listening, "getPlugins", lambda _: [])
        listener = self.start("selfsignedtls:8443")
        self.assertEqual(8443, self.reactor.tcpServers[0][0])
        self.successResultOf(listener.stopService())
        error = self.assertRaises(StartError, self.start, "reloadingtls:1:certKey=/no/c")
        expected = "vllmsim: cannot listen on 'reloadingtls:1:certKey=/no/c': cannot read the certificate '/no/c': No"
        self.assertTrue(str(error).startswith(expected), str(error))
        error = self.assertRaises(StartError, self.start, "selfsignedtls:8444:certificate=/no/such/file")
        self.assertIn("cannot write the certificate to its file: No such file or directory", str(error))

    def test_keyring(self) -> None:
        """There are certificates where an endpoint needs one."""
        self.assertIsNone(keyring_for(["tcp:1", "ssl:1:k:c", "unix:/x"], self.reactor))
        keyring = keyring_for(["tcp:1", "selfsignedtls:1"], self.reactor, "secret")
        listener = Listener("selfsignedtls:1", Factory(), self.reactor, keyring)
        listener.privilegedStartService()
        self.assertEqual(1, len(vars(keyring)["_certificates"]))
        self.successResultOf(listener.stopService())


class UnixTests(SynchronousTestCase):
    """Sockets that are files."""

    def setUp(self) -> None:
        """Have a folder."""
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name, "rank.sock")
        self.lock = Path(f"{self.path}.lock")

        self.left: list[Callable[[], object]] = []
        self.patch(atexit, "register", self.left.append)
        self.patch(atexit, "unregister", self.left.remove)

    def start(self) -> Listener:
        """Listen there."""
        reactor = MemoryReactorClock()
        listener = Listener(f"unix:{self.path}", Factory(), reactor)
        listener.privilegedStartService()
        self.assertEqual(1, len(reactor.unixServers))
        return listener

    def test_killed(self) -> None:
        """A socket that a server has left when it was killed is no obstacle, whatever process its lock names."""
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(self.path))
        for name in ("1", str(os.getpid())):
            self.lock.symlink_to(name)
            self.start()
            self.assertFalse(self.path.exists())
            self.assertFalse(self.lock.is_symlink())

    def test_alive(self) -> None:
        """One at which a server listens is left alone, and an error of one line."""
        self.lock.symlink_to(str(os.getpid()))
        with socket.socket(socket.AF_UNIX) as living:
            living.bind(str(self.path))
            living.listen(1)
            error = self.assertRaises(StartError, self.start)
        self.assertEqual(f"vllmsim: cannot listen on 'unix:{self.path}': another server listens there", str(error))
        self.assertTrue(self.path.is_socket())
        self.assertTrue(self.lock.is_symlink())

    def test_busy(self) -> None:
        """So is one whose server takes no more connections for now."""
        with socket.socket(socket.AF_UNIX) as living, socket.socket(socket.AF_UNIX) as waiting:
            living.bind(str(self.path))
            living.listen(0)
            waiting.connect(str(self.path))
            self.start()
            self.assertTrue(self.path.is_socket())

    def test_none(self) -> None:
        """Where there is none, one is made; a lock alone is no obstacle."""
        self.start()
        self.lock.symlink_to(str(os.getpid()))
        self.start()
        self.assertFalse(self.lock.is_symlink())

    def test_file(self) -> None:
        """A file that is no socket is not touched."""
        self.path.write_text("mine", "utf-8")
        self.start()
        self.assertEqual("mine", self.path.read_text("utf-8"))

    def test_ended(self) -> None:
        """A program that ends before it stops in order, as one whose next port is taken, leaves no file behind."""
        listener = self.start()
        self.path.touch()
        self.lock.symlink_to(str(os.getpid()))
        [leave] = self.left
        leave()
        self.assertFalse(self.path.exists())
        self.assertFalse(self.lock.is_symlink())
        leave()
        self.successResultOf(listener.stopService())
        self.assertEqual([], self.left)

    def test_ended_elsewhere(self) -> None:
        """What another server has in its place, or is no socket of ours, is left."""

        def refuse(*_: Any, **__: Any) -> None:
            self.lock.symlink_to(str(os.getpid()))
            raise CannotListenError("", 0, OSError(98, "Address already in use"))

        self.path.write_text("mine", "utf-8")
        self.patch(MemoryReactorClock, "listenUNIX", refuse)
        self.assertRaises(StartError, self.start)
        [leave] = self.left
        leave()
        self.assertFalse(self.lock.is_symlink())
        self.assertEqual("mine", self.path.read_text("utf-8"))
        self.lock.symlink_to("1")
        leave()
        self.assertTrue(self.lock.is_symlink())
