"""Models that are known."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.presets.models import MODELS, named_like


class ModelTests(SynchronousTestCase):
    """The table."""

    def test_possible(self) -> None:
        """All numbers of a model go together, and each row says where they are from."""
        for name, preset in MODELS.items():
            with self.subTest(name):
                self.assertIsNone(preset.shape.fault())
                self.assertRegex(preset.source, r"^config.json and card of https://huggingface.co/[\w.-]+/[\w.-]+")
                self.assertEqual(name, name.lower())

    def test_size(self) -> None:
        """Heads, layers and sizes come to about as many parameters as a dense model's card counts."""
        for name, preset in MODELS.items():
            m = preset.shape
            if m.active_parameters:
                continue
            attention = m.hidden_size * m.head_size * (2 * m.heads + 2 * m.kv_heads)
            # What is behind the attention has three matrices, 2.5 to 6 times as wide as the model.
            least, most = (m.layers * (attention + 3 * m.hidden_size**2 * wide) / 1e9 for wide in (2.5, 6.0))
            self.assertTrue(least < m.parameters * 1.1, f"{name}: {least}")
            self.assertTrue(m.parameters < most + m.hidden_size * 3e5 * 2 / 1e9, f"{name}: {most}")

    def test_named_like(self) -> None:
        """A model is known by the name of its repository or of its folder, in any case, and by no other."""
        for model, name in {
            "meta-llama/Llama-3.1-8B-Instruct": "llama-3.1-8b",
            "/models/llama-3.1-8b-instruct/": "llama-3.1-8b",
            "openai/gpt-oss-120b": "gpt-oss-120b",
            "Qwen/Qwen3-30B-A3B": "qwen3-30b-a3b",
            "deepseek-ai/DeepSeek-R1": "deepseek-v3",
            "deepseek-ai/DeepSeek-R1-Distill-Llama-70B": None,
            "my-model": None,
            "": None,
        }.items():
            self.assertEqual(name, named_like(model))

    def test_once(self) -> None:
        """No repository is known as two models."""
        every = [name.lower() for preset in MODELS.values() for name in preset.repositories]
        self.assertEqual(len(every), len(set(every)))
