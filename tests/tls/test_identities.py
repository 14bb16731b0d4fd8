"""Reading certificates and keys."""

import os
import time
from pathlib import Path
from tempfile import mkdtemp
from threading import Thread
from typing import Any

from cryptography.hazmat.primitives.asymmetric import dsa, ed25519, rsa
from cryptography.hazmat.primitives.serialization import PrivateFormat
from twisted.trial.unittest import SynchronousTestCase

from tests.tls.authority import DAY, Authority
from vllmsim.tls import identities
from vllmsim.tls.errors import TlsError
from vllmsim.tls.identities import Identity, read_identity, states, whole
from vllmsim.tls.settings import FileSource


class IdentityTests(SynchronousTestCase):
    """Files with all kinds of content."""

    def setUp(self) -> None:
        """Have an authority and a folder."""
        self.folder = Path(mkdtemp())
        self.authority = Authority()
        self.pair = self.authority.issue()
        self.certificate, self.key = self.pair.write(self.folder)

    def file(self, content: bytes, name: str = "file") -> str:
        """Write a file."""
        path = self.folder / name
        path.write_bytes(content)
        return str(path)

    def read(self, certificate: str = "", key: str = "", passphrase: str = "", **further: Any) -> Identity:
        """Read what is in files."""
        return read_identity(FileSource(certificate or self.certificate, key or self.key, **further), passphrase)

    def fault(self, *files: str, **further: Any) -> str:
        """Read what cannot be."""
        return str(self.assertRaises(TlsError, self.read, *files, **further))

    def test_pair(self) -> None:
        """A certificate and its key are read from two files, or from one in any order."""
        self.assertEqual(self.pair.certificate, self.read().certificate)
        both = self.file(b"about\n" + self.pair.key_pem + b"\n" + self.pair.certificate_pem)
        self.assertEqual(self.pair.certificate, self.read(both, both).certificate)

    def test_chain(self) -> None:
        """What is behind the certificate goes to clients too, as does what is in a file of its own."""
        chained = self.file(self.pair.certificate_pem + self.authority.pem)
        chain = (self.pair.certificate, self.authority.certificate)
        self.assertEqual(chain, self.read(chained).chain)
        identity = self.read(chain=self.file(self.authority.pem, "chain"), authorities=self.file(self.authority.pem))
        self.assertEqual((chain, chain[1:]), (identity.chain, identity.authorities))

    def test_kinds(self) -> None:
        """Keys may be of any kind that TLS has."""
        for key in (rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate()):
            pair = self.authority.issue(key=key)
            self.assertEqual(pair.certificate, self.read(*pair.write(self.folder, "other")).certificate)

    def test_passphrase(self) -> None:
        """A key may have a passphrase, from the configuration or from a file; one that needs none is read too."""
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
            key = self.file(self.pair.encrypted("secret", form))
            self.read("", key, "secret")
            identity = read_identity(
                FileSource(self.certificate, key, passphrase=self.file(b"secret\r\nmore", "passphrase"))
            )
            self.assertEqual(self.pair.certificate, identity.certificate)
            self.assertIn("is encrypted, and no passphrase is given", self.fault("", key))
            self.assertIn("the passphrase does not open the private key", self.fault("", key, "wrong"))
        self.read("", "", "secret")
        wrong = FileSource(self.certificate, self.key, passphrase=self.file(b"\xff"))
        self.assertIn("is not UTF-8", str(self.assertRaises(TlsError, read_identity, wrong)))

    def test_unreadable(self) -> None:
        """A file that cannot be read is named, with the reason."""
        self.assertEqual(
            "cannot read the certificate '/no/c': No such file or directory", self.fault("/no/c", self.key)
        )
        self.assertEqual("cannot read the private key '/': Is a directory", self.fault("", "/"))
        self.assertIn("cannot read the authorities", self.fault(authorities="/no/a"))
        self.assertIn("cannot read the passphrase", str(self.assertRaises(
            TlsError, read_identity, FileSource(self.certificate, self.key, passphrase="/no/p"))))  # fmt: skip
        self.assertIn("is too large to be the private key", self.fault("", "/dev/zero"))

    def test_nonsense(self) -> None:
        """A file that has not what it should is named too."""
        self.assertIn("has no PEM certificate, where the certificate should be", self.fault(self.key, self.key))
        self.assertIn("has no PEM private key", self.fault(self.certificate, self.certificate))
        half = self.file(self.pair.certificate_pem[:200])
        self.assertIn(f"the certificate in {half!r} cannot be understood", self.fault(half))
        empty = self.file(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
        self.assertIn("the private key in", self.fault("", empty))
        self.assertIn("cannot be understood", self.fault("", empty))
        old = dsa.generate_private_key(2048)
        self.assertIn("TLS has no use for", self.fault(*self.authority.issue(key=old).write(self.folder, "dsa")))

    def test_another_key(self) -> None:
        """A key that belongs to another certificate is told so."""
        _, key = self.authority.issue().write(self.folder, "other")
        expected = f"the private key in {key!r} is not that of the certificate in {self.certificate!r}"
        self.assertEqual(expected, self.fault("", key))

    def test_wrong_order(self) -> None:
        """Whose own certificate is behind that of the authority is told so."""
        chain = self.file(self.authority.pem + self.pair.certificate_pem)
        expected = (
            f"the private key in {self.key!r} is not that of the certificate in {chain!r},"
            " but of a later one: the server's own comes first"
        )
        self.assertEqual(expected, self.fault(chain))

    def test_pipe(self) -> None:
        """A named pipe is read to its end; at one that nobody writes to the server does not wait for ever."""
        path = self.folder / "pipe"
        os.mkfifo(path)
        self.patch(identities, "_PATIENCE", 0.05)
        pattern = "cannot read the private key '.*': it is a pipe that nobody has written to the end within 0.05 s"
        self.assertRegex(self.fault("", str(path)), pattern)
        self.patch(identities, "_PATIENCE", 10.0)
        writing = Thread(target=path.write_bytes, args=(self.pair.key_pem,))
        writing.start()
        self.addCleanup(writing.join)
        self.assertEqual(self.pair.certificate, self.read("", str(path)).certificate)

    def test_text(self) -> None:
        """The log tells whose certificate it is, for which names, for how long, and how to tell it from others."""
        names = tuple(f"n{number}" for number in range(10))
        ends = time.mktime((2030, 1, 2, 3, 4, 5, 0, 0, 0)) - time.timezone
        pair = self.authority.issue("me", ends=ends, names=names)
        text = self.read(*pair.write(self.folder)).text
        self.assertIn("CN=me for n0, n1, n2, n3, n4, n5, n6, n7 and 2 more, valid until 2030-01-02 03:04 UTC", text)
        self.assertIn(f"serial {pair.certificate.serial_number:x}, SHA-256 ", text)
        nameless = self.authority.issue(names=()).write(self.folder)
        self.assertIn("CN=server for no names, valid", self.read(*nameless).text)

    def test_lifetime(self) -> None:
        """How long a certificate is valid is known."""
        now = time.time()
        identity = self.read(*self.authority.issue(begins=now, ends=now + DAY).write(self.folder))
        self.assertEqual(DAY, identity.lifetime)
        self.assertEqual(int(now + DAY), identity.ends.timestamp())

    def test_same(self) -> None:
        """Certificates are the same when clients see the same."""
        _, key = self.authority.issue().write(self.folder, "other")
        first, second = self.read(), self.read()
        self.assertTrue(first.same(second))
        self.assertFalse(first.same(self.read(authorities=self.file(self.authority.pem))))
        self.assertEqual(self.pair.certificate_pem, first.pem)
        self.assertNotEqual(key, self.key)

    def test_states(self) -> None:
        """Files are others when they are replaced, written to, gone, or reached by another link."""
        link, other = self.folder / "link", self.file(b"b", "b")
        link.symlink_to(self.certificate)
        paths = (str(link), "/no/such")
        seen = [states(paths)]
        self.assertIsNone(seen[0][1])
        link.unlink()
        link.symlink_to(other)
        seen.append(states(paths))
        Path(other).write_bytes(b"more")
        seen.append(states(paths))
        Path(other).chmod(0o600)
        os.utime(other, ns=(1, 1))
        seen.append(states(paths))
        self.assertEqual(4, len(set(seen)))
        self.assertEqual(states(paths), states(paths))

    def test_pipes(self) -> None:
        """What can be read once alone is known."""
        self.assertTrue(whole([self.certificate, "/no/such"]))
        self.assertFalse(whole([self.certificate, "/dev/null"]))
