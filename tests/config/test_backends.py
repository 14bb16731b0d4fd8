"""What the option kv-cache-backend may say."""

from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from vllmsim.config.backends import Backend, parse_backend
from vllmsim.config.listing import print_config
from vllmsim.config.loading import ConfigurationError

READ = {
    "redis://h": Backend(host="h"),
    "redis://H.example:6380/3": Backend(host="h.example", port=6380, database=3),
    "redis://:p%40%23@h/": Backend(host="h", password="p@#"),
    "redis://u:p@h": Backend(host="h", user="u", password="p"),
    "valkey://[::1]:1": Backend(host="::1", port=1),
    "rediss://h": Backend(host="h", tls=True),
    "valkeys://h": Backend(host="h", tls=True),
    "unix:///run/redis.sock": Backend(path="/run/redis.sock"),
    "unix://u:p@/run/a%20b?db=2": Backend(path="/run/a b", user="u", password="p", database=2),
}
WRONG = {
    "redis": "must be memory, or an address",
    "http://h": "must be memory, or an address",
    "redis://": "names no host",
    "redis://:secret@": "names no host",
    "redis://:sec#ret@h": "has a # in it",
    "redis://:sec/ret@h": "is no address",
    "redis://h:99999": "is no address",
    "redis://h:0": "names port 0",
    "redis://[h": "is no address",
    "redis://h/x": "names no database",
    "redis://h/-1": "names no database",
    "redis://h/1/2": "names no database",
    "redis://h?db=1": "has a query",
    "unix://host/path": "is no path",
    "unix:path": "is no path",
    "unix:///path?db=x": "names no database",
    "unix:///path?secret=1": "other than db",
}


class BackendTests(SynchronousTestCase):
    """Addresses of servers."""

    def test_read(self) -> None:
        """Every form of an address that other clients take is understood."""
        for text, backend in READ.items():
            self.assertEqual(backend, parse_backend(text), text)

    def test_memory(self) -> None:
        """Without a word of it there is no backend."""
        self.assertIs(None, parse_backend("memory"))
        self.assertIs(None, parse_backend(load_words((), {}).configuration.kv_cache_backend))

    def test_wrong(self) -> None:
        """What is no address is refused, without telling a password."""
        for text, fault in WRONG.items():
            error = self.assertRaises(ValueError, parse_backend, text)
            self.assertIn(fault, str(error), text)
            words = ("--enable-kvcache", "--kv-cache-backend", text)
            refused = self.assertRaises(ConfigurationError, load_words, words, {})
            self.assertIn(fault, str(refused))
            self.assertNotIn("sec", str(refused))

    def test_shown(self) -> None:
        """An address is shown without user and password."""
        shown = {
            "redis://u:p@h": "redis://h:6379/0",
            "rediss://:p@[::1]:1/2": "rediss://[::1]:1/2",
            "unix://u:p@/a?db=1": "unix:///a?db=1",
        }
        for text, other in shown.items():
            backend = parse_backend(text)
            self.assertEqual(other, str(backend))
            self.assertNotIn("'p'", repr(backend))

    def test_printed(self) -> None:
        """The effective configuration hides an address, and not that there is none."""
        self.assertIn('kv-cache-backend: "memory"', print_config(load_words((), {})))
        environ = {"VLLMSIM_KV_CACHE_BACKEND": "redis://:secret@h"}
        printed = print_config(load_words(("--enable-kvcache",), environ))
        self.assertIn('kv-cache-backend: "***"  # environment VLLMSIM_KV_CACHE_BACKEND', printed)
        self.assertNotIn("secret", printed)
