"""What OpenSSL is told. What comes of it with clients is tried in :mod:`tests.tls.test_serving`."""

from cryptography.hazmat.primitives.asymmetric import rsa
from OpenSSL.SSL import Connection
from twisted.trial.unittest import SynchronousTestCase

from tests.tls.authority import Authority, Pair
from vllmsim.tls.contexts import make_context
from vllmsim.tls.errors import TlsError
from vllmsim.tls.identities import Identity
from vllmsim.tls.settings import Manner


class ContextTests(SynchronousTestCase):
    """Contexts."""

    def setUp(self) -> None:
        """Have an authority."""
        self.authority = Authority()

    def identity(self, pair: Pair) -> Identity:
        """Be someone."""
        return Identity((pair.certificate,), pair.key, (self.authority.certificate,))

    def test_ciphers(self) -> None:
        """Six ciphers of TLS 1.2 and those of TLS 1.3, the fastest first."""
        context = make_context(self.identity(self.authority.issue()), Manner())
        ciphers = Connection(context).get_cipher_list()
        older = [cipher for cipher in ciphers if not cipher.startswith("TLS_")]
        self.assertEqual((6, "ECDHE-ECDSA-AES128-GCM-SHA256"), (len(older), older[0]))
        self.assertEqual(3, len(ciphers) - len(older))

    def test_weak(self) -> None:
        """A key that is too short is refused in OpenSSL's words."""
        key = rsa.generate_private_key(65537, 2048)
        pair = self.authority.issue(key=key)
        error = self.assertRaises(TlsError, make_context, self.identity(pair), Manner("ALL:@SECLEVEL=5"))
        self.assertEqual("OpenSSL does not take the certificate: ee key too small", str(error))
