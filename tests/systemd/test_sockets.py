"""Sockets that systemd has opened."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from tests.systemd.inheriting import InheritingTestCase
from vllmsim.systemd.sockets import as_endpoint, inherited, name_of, unserved

HTTP = "systemd:domain=INET:name=http"


class InheritedTests(InheritingTestCase):
    """Which socket an endpoint stands for."""

    def setUp(self) -> None:
        """Have a reactor."""
        self.reactor = MemoryReactorClock()

    def why(self, endpoint: str, environ: Mapping[str, str]) -> str:
        """Learn why an endpoint stands for none."""
        return str(self.assertRaises(ValueError, inherited, endpoint, self.reactor, environ))

    def test_by_name(self) -> None:
        """It is the one of its name, whatever the order."""
        first, second = self.opened(), self.opened(socket.AF_INET6)
        environ = self.inherit(rank0=first, rank1=second)
        found = inherited("systemd:domain=INET6:name=rank1", self.reactor, environ)
        self.assertEqual((second, socket.AF_INET6), (found.fileno, found.addressFamily))
        self.assertEqual(first, inherited("systemd:domain=INET:index=0", self.reactor, environ).fileno)

    def test_borrowed(self) -> None:
        """A socket takes clients when the port is closed, and its file keeps its mode; as many may wait as ever."""
        for family, domain in ((socket.AF_UNIX, "UNIX"), (socket.AF_INET, "INET")):
            descriptor = self.opened(family)
            with socket.socket(fileno=os.dup(descriptor)) as systemd:
                where: Any = systemd.getsockname()
                if family == socket.AF_UNIX:
                    Path(where).chmod(0o600)
                endpoint = inherited(f"systemd:domain={domain}:name=http", reactor, self.inherit(http=descriptor))
                port: Any = self.successResultOf(endpoint.listen(Factory()))
                clients = [socket.socket(family) for _ in range(100)]
                for client in clients:
                    client.settimeout(0.5)
                    client.connect(where)
                port.connectionLost(Failure(ConnectionDone()))
                port.stopReading()
                for client in clients:
                    client.close()
                with socket.socket(family) as client:
                    client.connect(where)
                if family == socket.AF_UNIX:
                    self.assertEqual(0o600, Path(where).stat().st_mode & 0o777)

    def test_missing(self) -> None:
        """One that is not there is named, with those that are."""
        environ = self.inherit(web=self.opened(), admin=self.opened())
        self.assertEqual("systemd has passed no socket named 'http', but 'web', 'admin'", self.why(HTTP, environ))
        self.assertEqual(
            "systemd has passed no socket of that number; say which by name=, of 'web', 'admin'",
            self.why("systemd:domain=INET:index=2", environ),
        )

    def test_nothing(self) -> None:
        """It is said when there are no sockets, when they have no names, and when they are for another process."""
        self.inherit()
        without = "systemd has passed no sockets with names; a socket unit names them by FileDescriptorName="
        self.assertEqual(without, self.why(HTTP, {}))
        self.assertEqual(without, self.why(HTTP, {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}))
        other = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "http"}
        passed = f"systemd has passed its sockets to process 1, and this one is {os.getpid()}"
        self.assertEqual(passed, self.why(HTTP, other))
        uneven = "systemd has passed more names than sockets, or fewer: LISTEN_FDS and LISTEN_FDNAMES do not agree"
        self.assertEqual(uneven, self.why(HTTP, {"LISTEN_FDNAMES": "http:more"}))

    def test_twice(self) -> None:
        """Two of one name are refused, since nobody would serve the other."""
        environ = {**self.inherit(http=self.opened()), "LISTEN_FDNAMES": "http:http"}
        why = "systemd has passed several sockets named 'http'; give each a FileDescriptorName= of its own"
        self.assertEqual(why, self.why(HTTP, environ))

    def test_family(self) -> None:
        """One of another family is refused, since its clients would have no addresses."""
        six, four, unix = self.opened(socket.AF_INET6), self.opened(), self.opened(socket.AF_UNIX)
        environ = self.inherit(six=six, four=four, unix=unix)
        for name, right, wrong in (("six", "INET6", "INET"), ("four", "INET", "INET6"), ("unix", "UNIX", "INET")):
            why = f"its socket is of another family; say domain={right}"
            self.assertEqual(why, self.why(f"systemd:domain={wrong}:name={name}", environ))
            inherited(f"systemd:domain={right}:name={name}", self.reactor, environ)

    def test_words(self) -> None:
        """Words that are no endpoint are said to be so."""
        environ = self.inherit(http=self.opened())
        domains = "its domain is none; there are INET, INET6 and UNIX"
        self.assertEqual(domains, self.why("systemd:domain=FOO:name=http", environ))
        self.assertEqual("it takes domain= and name=", self.why("systemd:name=http", environ))
        self.assertEqual("it takes domain= and name=", self.why("systemd:domain=INET:name=http:port=1", environ))
        self.assertIn("exactly one", self.why("systemd:domain=INET", environ))

    def test_not_listening(self) -> None:
        """What takes no connections is refused: datagrams, a connection, no socket, nothing."""
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        connection = socket.socket(socket.AF_INET)
        null = os.open(os.devnull, os.O_RDONLY)
        for descriptor, why in (
            (datagrams.detach(), "its socket takes no connections; the unit needs ListenStream= and Accept=no"),
            (connection.detach(), "its socket takes no connections; the unit needs ListenStream= and Accept=no"),
            (null, f"descriptor {null} is no socket: Socket operation on non-socket"),
        ):
            environ = self.inherit(http=self.close_later(descriptor))
            self.assertEqual(why, self.why(HTTP, environ))
        gone = "descriptor 9999 is no socket: Bad file descriptor"
        self.assertEqual(gone, self.why(HTTP, self.inherit(http=9999)))

    def test_names(self) -> None:
        """The name is read as Twisted reads it."""
        names = {HTTP: "http", r"systemd:name=a\:b:domain=INET": "a:b", "systemd:domain=INET:index=0": None}
        self.assertEqual(names, {endpoint: name_of(endpoint) for endpoint in names})
        self.assertIs(None, name_of("tcp:80:name=x"))

    def test_unserved(self) -> None:
        """Sockets that nobody serves are found, unless it cannot be told."""
        environ = {"LISTEN_FDNAMES": "http:admin"}
        self.assertEqual(["admin"], unserved([HTTP], environ))
        self.assertEqual(["http", "admin"], unserved(["tcp:8000"], environ))
        self.assertEqual([], unserved([HTTP, "systemd:domain=UNIX:name=admin"], environ))
        self.assertEqual([], unserved(["systemd:domain=INET:index=0"], environ))
        self.assertEqual([], unserved(["tcp:8000"], {}))

    def test_as_endpoint(self) -> None:
        """Where such a socket listens can be told."""
        four, six = self.opened(), self.opened(socket.AF_INET6)
        unix, abstract = self.opened(socket.AF_UNIX), self.opened(socket.AF_UNIX, abstract=True)
        environ = self.inherit(four=four, six=six, unix=unix, abstract=abstract)
        told = [
            as_endpoint(inherited(f"systemd:domain={domain}:name={name}", self.reactor, environ))
            for domain, name in (("INET", "four"), ("INET6", "six"), ("UNIX", "unix"), ("UNIX", "abstract"))
        ]
        self.assertRegex(told[0], r"^tcp:\d+:interface=127\.0\.0\.1$")
        self.assertRegex(told[1], r"^tcp6:\d+:interface=\\:\\:1$")
        self.assertRegex(told[2], r"^unix:/.*/socket$")
        self.assertRegex(told[3], r"^unix:\0vllmsim-/")
