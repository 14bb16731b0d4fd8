"""How many KV blocks a model leaves room for."""

from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from vllmsim.config.loading import Loaded

STEPS = "--scheduling-model step"
PRESET = f"{STEPS} --model-preset llama-3.1-8b"
BLOCK = 16 * 32 * 2 * 8 * 128 * 2
"""Bytes of a block of Llama 3.1 8B: tokens, layers, keys and values, heads, their size, bytes."""


def loaded(words: str) -> Loaded:
    """Read a command line."""
    return load_words(words.split(), {})


def blocks(words: str) -> int:
    """Count the blocks that it comes to."""
    return loaded(words).configuration.kv_cache_size


class MemoryTests(SynchronousTestCase):
    """The size of the KV cache."""

    def test_free(self) -> None:
        """What weights and the engine itself leave of a device's memory is for keys and values."""
        free = (80 * 0.92 - 2) * 2**30 - 16.06e9
        self.assertEqual(int(free // BLOCK), blocks(PRESET))
        self.assertEqual(int((free - 80 * 0.42 * 2**30) // BLOCK), blocks(f"{PRESET} --gpu-memory-utilization 0.5"))

    def test_measured(self) -> None:
        """A vLLM with this model and 23.58 GiB had 1952 blocks: https://github.com/vllm-project/vllm/issues/10517."""
        device = '{"tflops":71,"bandwidth":936,"link":32,"memory":23.58}'
        found = blocks(f"{PRESET} --gpu-memory-utilization 0.9 --device-preset= --device-shape {device}")
        self.assertTrue(1952 / 1.3 < found < 1952 * 1.3, found)

    def test_devices(self) -> None:
        """Devices that share a model have room for more: each has a part of the weights and of the heads."""
        free = (80 * 0.92 - 2) * 2**30 - 16.06e9 / 4
        self.assertEqual(int(free * 4 // BLOCK), blocks(f"{PRESET} -tp 4"))
        # There are 8 heads of keys and values.
        free = (80 * 0.92 - 2) * 2**30 - 16.06e9 / 16
        self.assertEqual(int(free * 8 // BLOCK), blocks(f"{PRESET} -tp 16"))

    def test_bytes(self) -> None:
        """Smaller numbers have room for more of them."""
        once, twice = blocks(PRESET), blocks(f"{PRESET} --kv-cache-dtype fp8")
        self.assertAlmostEqual(2.0, twice / once, places=3)
        self.assertGreater(blocks(f"{PRESET} --block-size 8"), 1.99 * once)

    def test_said(self) -> None:
        """A size that somebody says is the size, and without a model on a device it is the usual one."""
        for words, size in {
            f"{PRESET} --kv-cache-size 77": 77,
            f"{PRESET} --num-gpu-blocks-override 77": 77,
            f"{PRESET} --step-time linear": 1024,
            "--model-preset llama-3.1-8b": 1024,
            STEPS: 1024,
            f'{PRESET} --device-preset= --device-shape {{"tflops":1,"bandwidth":1,"link":1}}': 1024,
        }.items():
            self.assertEqual(size, blocks(words), words)

    def test_window(self) -> None:
        """A context window that has no room is cut, and the log says so."""
        told = loaded(f"{PRESET} --device-preset l4 --max-model-len 131072")
        c = told.configuration
        self.assertEqual((c.kv_cache_size - 1) * 16, c.max_model_len)
        self.assertIn("tokens and not 131072", " ".join(told.doubts))

    def test_too_large(self) -> None:
        """A model that does not fit runs here all the same, and the log says that it would not in vLLM."""
        told = loaded(f"{STEPS} --model-preset llama-3.1-70b")
        self.assertEqual(1024, told.configuration.kv_cache_size)
        self.assertIn("leave no memory of 1 device for a KV cache: vLLM would not start", " ".join(told.doubts))
        self.assertEqual([], loaded(f"{STEPS} --model-preset llama-3.1-70b -tp 4").doubts)
