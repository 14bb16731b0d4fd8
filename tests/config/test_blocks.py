"""What options of the KV cache come to together."""

from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from vllmsim.config.blocks import settle
from vllmsim.config.loading import Loaded
from vllmsim.config.schema import Configuration


def loaded(words: str) -> Loaded:
    """Read a command line."""
    return load_words(words.split(), {})


class SettleTests(SynchronousTestCase):
    """From what was given to what is in effect."""

    def test_cached(self) -> None:
        """A cache is there when it is named, or what needs it is; it is not when that is said."""
        events = '--kv-events-config {"enable_kv_cache_events":true}'
        for words, cached, prefixes in (
            ("", False, False),
            ("--enable-kvcache", True, True),
            ("--enable-prefix-caching", True, True),
            ("--scheduling-model step", True, True),
            ("--scheduling-model per-request", False, False),
            ("--no-enable-prefix-caching", False, False),
            ("--enable-kvcache --no-enable-prefix-caching", True, False),
            (events, True, True),
            (f"{events} --no-enable-prefix-caching", True, False),
            ('--kv-events-config {"enable_kv_cache_events":false}', False, False),
            (f"--no-enable-kvcache --enable-prefix-caching {events}", False, False),
        ):
            c = loaded(words).configuration
            self.assertEqual((cached, prefixes), (c.enable_kvcache, c.caches_prefixes), words)

    def test_size(self) -> None:
        """The size has a name of vLLM's too, which comes before the other, whether there is a cache or not."""
        for words, blocks in (
            ("", 1024),
            ("--max-model-len 32k", 1024),
            ("--enable-kvcache --max-model-len 16368", 1024),
            ("--enable-kvcache --max-model-len 16369", 1025),
            ("--enable-kvcache --max-model-len 32k --block-size 8", 4001),
            ("--enable-kvcache --max-model-len 32k --kv-cache-size 1024", 1024),
            ("--kv-cache-size 9", 9),
            ("--kv-cache-size 9 --num-gpu-blocks-override 8", 8),
        ):
            self.assertEqual(blocks, loaded(words).configuration.kv_cache_size)

    def test_small_without(self) -> None:
        """Where there is no cache it may have any size."""
        for size in (0, 1):
            self.assertEqual(1024, loaded(f"--kv-cache-size {size}").configuration.max_model_len)

    def test_window(self) -> None:
        """A context window that the cache does not hold is shortened; both numbers are told, and a remedy."""
        said = (
            "The context window has {} tokens and not {}, since the KV cache has no more room; for all of them it takes"
        )
        for words, window, asked, remedy in (
            ("--enable-kvcache --kv-cache-size 65", 1024, 1024, None),
            ("--enable-kvcache --kv-cache-size 64", 1008, 1024, "kv-cache-size 65"),
            ("--enable-kvcache --kv-cache-size 2 --block-size 8", 8, 1024, "kv-cache-size 129"),
            ("--enable-kvcache --max-model-len auto --kv-cache-size 9", 128, 1024, "kv-cache-size 65"),
            ("--enable-prefix-caching --max-model-len 32k", 32000, 32000, None),
            ("--enable-kvcache --num-gpu-blocks-override 4 --max-model-len 49", 48, 49, "num-gpu-blocks-override 5"),
            ("--kv-cache-size 4 --max-model-len 49", 49, 49, None),
        ):
            read = loaded(words)
            self.assertEqual(window, read.configuration.max_model_len)
            expected = [] if remedy is None else [f"{said.format(window, asked)} {remedy} or more."]
            self.assertEqual(expected, read.doubts)

    def test_wrong(self) -> None:
        """What is too small to be a cache is left for others to refuse."""
        c = settle(Configuration(enable_kvcache=True, kv_cache_size=1), {"enable-kvcache", "kv-cache-size"})
        self.assertEqual(1024, c.max_model_len)
