"""All certificates of a process."""

import time
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from cryptography.hazmat.primitives.serialization import PrivateFormat
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.tls.authority import Authority, Pair
from tests.tls.client import Client, believing
from vllmsim.config.endpoints import endpoint_words
from vllmsim.tls.certificates import Certificates
from vllmsim.tls.errors import TlsError
from vllmsim.tls.keyring import Keyring
from vllmsim.tls.selfsigned import client_identity


class Reactor(MemoryReactorClock):
    """A reactor in memory, whose threads do their work at once."""

    def getThreadPool(self) -> "Reactor":
        """Be the threads."""
        return self

    def callInThreadWithCallback(self, done: Any, function: Any, *arguments: Any) -> None:
        """Do it."""
        try:
            result = function(*arguments)
        except Exception as error:  # noqa: BLE001 - as a pool does
            done(False, error)
        else:
            done(True, result)

    def callFromThread(self, function: Any, *arguments: Any) -> None:
        """Call at once."""
        function(*arguments)


class KeyringTests(SynchronousTestCase):
    """What endpoints share."""

    def setUp(self) -> None:
        """Have a certificate in files."""
        self.reactor = Reactor()
        self.folder = Path(mkdtemp())
        self.authority = Authority()
        certificate, key = self.authority.issue().write(self.folder)
        self.endpoint = f"reloadingtls:0:certKey={certificate}:privateKey={key}"

    def listen(self, keyring: Keyring, endpoint: str = "") -> Any:
        """Listen.

        :return: the factory of the port.
        """
        words = endpoint_words(endpoint or self.endpoint)
        port = self.successResultOf(
            keyring.endpoint(words.kind, words.positional, words.named).listen(Factory.forProtocol(Protocol))
        )
        self.addCleanup(port.stopListening)
        return self.reactor.tcpServers[-1][1]

    def serial(self, factory: Any) -> int:
        """See which certificate a server shows."""
        client = Client(factory, believing())
        client.shake()
        client.protocol.transport.loseConnection()
        return client.serial

    def test_shared(self) -> None:
        """Endpoints that ask for the same have the same certificate, wherever they listen."""
        keyring = Keyring(self.reactor)
        endpoints = ["selfsignedtls:1", "selfsignedtls:2:interface=127.0.0.1", "selfsignedtls:3:names=a.example"]
        first, second, other = (self.serial(self.listen(keyring, each)) for each in endpoints)
        self.assertEqual(first, second)
        self.assertNotEqual(first, other)

    def test_reload(self) -> None:
        """All are read again together."""
        keyring = Keyring(self.reactor)
        factory = self.listen(keyring)
        self.listen(keyring, "selfsignedtls:1")
        second = self.authority.issue("second")
        second.write(self.folder)
        with capturedLogs() as events:
            self.successResultOf(keyring.reload("SIGHUP"))
        self.assertEqual(["SIGHUP"], [event["who"] for event in events])
        self.assertEqual(second.certificate.serial_number, self.serial(factory))

    def test_reload_in_vain(self) -> None:
        """What goes wrong in a way that nobody thought of is in the log, and the others are read."""

        def wrong(*_: Any) -> None:
            raise LookupError

        keyring = Keyring(self.reactor)
        self.listen(keyring)
        self.patch(Certificates, "_load", wrong)
        self.successResultOf(keyring.reload("SIGHUP"))
        self.assertEqual(1, len(self.flushLoggedErrors(LookupError)))

    def test_passphrase(self) -> None:
        """The configuration may know the passphrase of keys; none of it is in what the program shows of itself."""
        pair = self.authority.issue()
        pair.write(self.folder)
        (self.folder / "server.key").write_bytes(pair.encrypted("secret", PrivateFormat.PKCS8))
        self.assertRaises(TlsError, self.listen, Keyring(self.reactor))
        keyring = Keyring(self.reactor, "secret")
        self.assertEqual(pair.certificate.serial_number, self.serial(self.listen(keyring)))
        self.assertNotIn("secret", repr(list(vars(keyring)["_certificates"].values())))

    def test_asks(self) -> None:
        """It is known whether every client is asked for a certificate; one of our own is believed beside others."""
        authorities = self.folder / "authorities.pem"
        authorities.write_bytes(self.authority.pem)
        identity = client_identity(time.time())
        for verify, asks in {"no": False, "optional": False, "required": True}.items():
            keyring = Keyring(self.reactor, trusted=identity.pem)
            factory = self.listen(keyring, f"{self.endpoint}:caCerts={authorities}:verify={verify}")
            self.assertEqual(asks, keyring.asks)
        self.assertFalse(Keyring(self.reactor).asks)
        certificate, key = self.folder / "own.pem", self.folder / "own.key"
        certificate.write_bytes(identity.pem)
        key.write_bytes(self.key_pem(identity.key))
        context = believing(pair=(str(certificate), str(key)))
        client = Client(factory, context)
        client.shake()
        self.assertEqual(b"", client.receive())

    def key_pem(self, key: Any) -> bytes:
        """Write a key as files have it."""
        return Pair(self.authority.certificate, key).key_pem
