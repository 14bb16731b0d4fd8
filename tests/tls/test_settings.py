"""What endpoint strings ask for."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.config.endpoints import TLS_KINDS, endpoint_words
from vllmsim.tls.errors import TlsError
from vllmsim.tls.settings import PREFIXES, FileSource, Manner, Place, SelfSigned, Wanted, read_words

RIGHT = {
    "selfsignedtls:8443": Wanted(Place(8443), SelfSigned(), Manner()),
    r"selfsignedtls:port=1:names=a,b:interface=\:\:1:backlog=9:certificate=/c": Wanted(
        Place(1, "::1", 9), SelfSigned(("a", "b"), "/c"), Manner()
    ),
    "selfsignedtls:0:caCerts=/a:ciphers=X": Wanted(Place(0), SelfSigned(authorities="/a"), Manner("X", 2)),
    "reloadingtls:1:/k:/c": Wanted(Place(1), FileSource("/c", "/k"), Manner()),
    "reloadingtls:1:privateKey=/both": Wanted(Place(1), FileSource("/both", "/both"), Manner()),
    "reloadingtls:1:certKey=/both": Wanted(Place(1), FileSource("/both", "/both"), Manner()),
    "reloadingtls:1:/k:/c:extraCertChain=/e:caCerts=/a:passphraseFile=/p:verify=optional:reload=no": Wanted(
        Place(1), FileSource("/c", "/k", "/e", "/a", "/p", watched=False), Manner(asking=1)
    ),
    "reloadingtls:1:/k:/c:caCerts=/a:verify=no": Wanted(Place(1), FileSource("/c", "/k", authorities="/a"), Manner()),
}
WRONG = {
    "selfsignedtls": "port must be a number of at most 65535, not ''",
    "selfsignedtls:65536": "port must be a number of at most 65535, not '65536'",
    "selfsignedtls:1:backlog=x": "backlog must be a number, not 'x'",
    f"selfsignedtls:1:backlog={'9' * 5000}": "backlog must be a number",
    "selfsignedtls:1:certKey=/c": "selfsignedtls has no argument 'certKey'; it has port, names,",
    "selfsignedtls:1:port=2": "port is there twice",
    "reloadingtls:1": "it names no certKey",
    "reloadingtls:1:/c:verify=required": "verify needs caCerts",
    "reloadingtls:1:/c:caCerts=/a:verify=2": "verify must be one of no, optional, required, not '2'",
    "reloadingtls:1:/c:reload=maybe": "reload must be one of no, yes, not 'maybe'",
    f"reloadingtls{':1' * 20}": "reloadingtls has no argument '1'",
}


def read(endpoint: str) -> Wanted:
    """Read an endpoint string."""
    words = endpoint_words(endpoint)
    return read_words(words.kind, words.positional, words.named)


class SettingsTests(SynchronousTestCase):
    """Words and values."""

    def test_right(self) -> None:
        """Files, names and manners are what the words say, in the order and under the names of Twisted's endpoints."""
        for endpoint, wanted in RIGHT.items():
            self.assertEqual(wanted, read(endpoint))

    def test_wrong(self) -> None:
        """What cannot be is said in a line."""
        for endpoint, fault in WRONG.items():
            self.assertIn(fault, str(self.assertRaises(TlsError, read, endpoint)))

    def test_paths(self) -> None:
        """Files are found also when the daemon has gone to another folder; each is looked at once."""
        source = read("reloadingtls:1:k:c:caCerts=c").source
        self.assertEqual(2, len(source.paths))
        self.assertTrue(all(path.startswith("/") for path in source.paths))
        self.assertEqual(((), ("/a",)), (SelfSigned().paths, SelfSigned(authorities="/a").paths))

    def test_kinds(self) -> None:
        """The configuration knows the same endpoints."""
        self.assertEqual(TLS_KINDS, PREFIXES)
