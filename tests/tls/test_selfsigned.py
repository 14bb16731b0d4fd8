"""Certificates that vouch for themselves."""

import socket
import time

from cryptography.x509 import BasicConstraints, DNSName, IPAddress, SubjectAlternativeName
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.tls.errors import TlsError
from vllmsim.tls.identities import Identity
from vllmsim.tls.selfsigned import client_identity, server_identity


def names(identity: Identity) -> list[str]:
    """List the names of a certificate."""
    names = identity.certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    return [*names.get_values_for_type(DNSName), *map(str, names.get_values_for_type(IPAddress))]


class SelfSignedTests(SynchronousTestCase):
    """What they say."""

    def setUp(self) -> None:
        """Have a machine with a name."""
        self.patch(socket, "gethostname", lambda: "machine")

    def test_names(self) -> None:
        """They are for this machine by each of its names, and for what else it is called; each once."""
        self.assertEqual(["localhost", "machine", "127.0.0.1", "::1"], names(server_identity([], 0)))
        more = names(server_identity(["a.example", "bücher.example", "10.0.0.1", "localhost", "fe80::1"], 0))
        expected = ["localhost", "a.example", "xn--bcher-kva.example", "machine", "127.0.0.1", "::1", "10.0.0.1"]
        self.assertEqual([*expected, "fe80::1"], more)

    def test_no_name(self) -> None:
        """A name that is none is refused; a machine that is called so has its other names."""
        error = self.assertRaises(TlsError, server_identity, ["ü" * 300], 0)
        self.assertIn("is no name that a certificate can have", str(error))
        self.patch(socket, "gethostname", lambda: "ü" * 300)
        self.assertEqual(["localhost", "127.0.0.1", "::1"], names(server_identity([], 0)))

    def test_time(self) -> None:
        """They are valid for more than two years, and for clients whose clocks are behind."""
        now = time.time()
        identity = server_identity([], now)
        self.assertEqual(825, (identity.ends.timestamp() - int(now)) / 86400)
        self.assertGreater(now - 3000, identity.certificate.not_valid_before_utc.timestamp())

    def test_no_authority(self) -> None:
        """They vouch for nobody else, and no two are the same."""
        first, second = server_identity([], 0), client_identity(0)
        for identity in (first, second):
            constraints = identity.certificate.extensions.get_extension_for_class(BasicConstraints).value
            self.assertFalse(constraints.ca)
        self.assertFalse(first.same(server_identity([], 0)))
        self.assertEqual(first.certificate.public_key(), first.key.public_key())
