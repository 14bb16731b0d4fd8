"""Which cache outside a server there is."""

from typing import Any

from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.commandline import load_words
from tests.kvcache.stores import RecordingStoreMetrics
from vllmsim.config.backends import Backend
from vllmsim.interfaces import IBlockStore, IBlockStoreMetrics
from vllmsim.kvcache.outside.backend import make_store
from vllmsim.kvcache.outside.redisstore import endpoint_of


class BackendTests(SynchronousTestCase):
    """Stores are made as the configuration says."""

    def setUp(self) -> None:
        """Have a reactor."""
        self.reactor = MemoryReactorClock()
        self.heard: list[IBlockStoreMetrics] = []

    def make(self, *words: str) -> Any:
        """Make the store of a command line."""
        c = load_words(("--enable-kvcache", *words), {}).configuration
        return make_store(c, self.metrics, lambda: 0.0, self.reactor)

    def metrics(self) -> IBlockStoreMetrics:
        """Make what hears of a store."""
        self.heard.append(RecordingStoreMetrics())
        return self.heard[-1]

    def test_memory(self) -> None:
        """Without a word there is none, and no metrics of one."""
        self.assertIs(None, self.make())
        self.assertEqual([], self.heard)

    def test_redis(self) -> None:
        """An address makes one, which goes there when it is started."""
        store = self.make("--kv-cache-backend", "redis://127.0.0.1:7000")
        verifyObject(IBlockStore, store)
        self.assertEqual([], self.reactor.tcpClients)
        store.start()
        self.assertEqual(("127.0.0.1", 7000), self.reactor.tcpClients[0][:2])
        self.successResultOf(store.stop())
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_kinds(self) -> None:
        """Whatever makes the hashes of two servers mean something else makes other keys."""
        others = (
            ("--model", "m"),
            ("--revision", "r"),
            ("--block-size", "32"),
            ("--prefix-caching-hash-algo", "sha256_cbor"),
            ("--hash-seed", "7"),
            ("--kv-cache-backend-namespace", "n"),
        )
        prefixes = [self.make("--kv-cache-backend", "redis://h", *words)._prefix for words in ((), *others)]
        self.assertEqual(len(prefixes), len(set(prefixes)))
        same = self.make("--kv-cache-backend", "redis://other:1/3", "--served-model-name", "x", "--seed", "7")
        self.assertEqual(prefixes[0], same._prefix)

    def test_endpoints(self) -> None:
        """Servers are reached by a socket, in plain, or over TLS, where the certificate must be theirs."""
        reactor = self.reactor
        self.assertIsInstance(endpoint_of(Backend(path="/p"), reactor), UNIXClientEndpoint)
        self.assertIsInstance(endpoint_of(Backend(host="127.0.0.1"), reactor), HostnameEndpoint)
        wrapped: Any = endpoint_of(Backend(host="127.0.0.1", tls=True), reactor)
        self.assertIsInstance(wrapped._wrappedEndpoint, HostnameEndpoint)
