# -*- test-case-name: tests.presets.test_models -*-
"""Common models. Each row says where its numbers come from.

What is in a ``config.json`` is taken from there: layers, sizes, heads and experts. Parameters, all and active, are
those that the model's card or its report names. A cache of latents is one head, which every device has whole.
"""

from typing import Final

from attrs import field, frozen

from vllmsim.shapes import ModelShape


@frozen
class ModelPreset:
    """A model.

    :param repositories: names of repositories that have it, in whatever form, without their owners. The first is the
        one whose files are the source.
    :param source: whose numbers these are.
    """

    shape: ModelShape
    repositories: tuple[str, ...]
    source: str
    _folded: frozenset[str] = field(init=False)

    @_folded.default
    def _fold(self) -> frozenset[str]:
        return frozenset(name.lower() for name in self.repositories)

    def is_called(self, name: str) -> bool:
        """Tell whether a repository of this name has it."""
        return name.lower() in self._folded


def _card(owner: str, *repositories: str, more: str = "", **numbers: float | str) -> ModelPreset:
    """Describe a model by its config.json and its card."""
    first = repositories[0]
    source = f"config.json and card of https://huggingface.co/{owner}/{first}" + (f"; {more}" if more else "")
    return ModelPreset(ModelShape(**numbers), repositories, source)  # type: ignore[arg-type]


_MXFP4: Final = 4.25 / 8
"""Bytes: blocks of 32 numbers of 4 bits share a scale of 8."""
_LLAMA_MOE: Final = "the card counts 17 thousand million active parameters"
_GPT_OSS: Final = "parameters and MXFP4 as in the report, https://arxiv.org/abs/2508.10925"
_LATENT: Final = "the cache of latents as in the report, https://arxiv.org/abs/2412.19437"

# fmt: off
MODELS: Final[dict[str, ModelPreset]] = {
    "llama-3.2-1b": _card("meta-llama", "Llama-3.2-1B", "Llama-3.2-1B-Instruct",
        layers=16, hidden_size=2048, heads=32, kv_heads=8, head_size=64, parameters=1.23),
    "llama-3.2-3b": _card("meta-llama", "Llama-3.2-3B", "Llama-3.2-3B-Instruct",
        layers=28, hidden_size=3072, heads=24, kv_heads=8, head_size=128, parameters=3.21),
    "llama-3.1-8b": _card("meta-llama", "Llama-3.1-8B", "Llama-3.1-8B-Instruct", "Meta-Llama-3.1-8B",
        "Meta-Llama-3.1-8B-Instruct", "Meta-Llama-3-8B", "Meta-Llama-3-8B-Instruct",
        layers=32, hidden_size=4096, heads=32, kv_heads=8, head_size=128, parameters=8.03),
    "llama-3.1-70b": _card("meta-llama", "Llama-3.1-70B", "Llama-3.1-70B-Instruct", "Llama-3.3-70B-Instruct",
        "Meta-Llama-3.1-70B", "Meta-Llama-3.1-70B-Instruct", "Meta-Llama-3-70B", "Meta-Llama-3-70B-Instruct",
        layers=80, hidden_size=8192, heads=64, kv_heads=8, head_size=128, parameters=70.6),
    "llama-3.1-405b": _card("meta-llama", "Llama-3.1-405B", "Llama-3.1-405B-Instruct",
        layers=126, hidden_size=16384, heads=128, kv_heads=8, head_size=128, parameters=405.9),
    "llama-4-scout": _card("meta-llama", "Llama-4-Scout-17B-16E", "Llama-4-Scout-17B-16E-Instruct", more=_LLAMA_MOE,
        layers=48, hidden_size=5120, heads=40, kv_heads=8, head_size=128, parameters=109.0, active_parameters=17.0,
        experts=16),
    "llama-4-maverick": _card("meta-llama", "Llama-4-Maverick-17B-128E", "Llama-4-Maverick-17B-128E-Instruct",
        more=_LLAMA_MOE,
        layers=48, hidden_size=5120, heads=40, kv_heads=8, head_size=128, parameters=400.0, active_parameters=17.0,
        experts=128),
    "qwen2.5-7b": _card("Qwen", "Qwen2.5-7B", "Qwen2.5-7B-Instruct",
        layers=28, hidden_size=3584, heads=28, kv_heads=4, head_size=128, parameters=7.61),
    "qwen2.5-32b": _card("Qwen", "Qwen2.5-32B", "Qwen2.5-32B-Instruct", "QwQ-32B",
        layers=64, hidden_size=5120, heads=40, kv_heads=8, head_size=128, parameters=32.5),
    "qwen2.5-72b": _card("Qwen", "Qwen2.5-72B", "Qwen2.5-72B-Instruct",
        layers=80, hidden_size=8192, heads=64, kv_heads=8, head_size=128, parameters=72.7),
    "qwen3-0.6b": _card("Qwen", "Qwen3-0.6B", "Qwen3-0.6B-Base",
        layers=28, hidden_size=1024, heads=16, kv_heads=8, head_size=128, parameters=0.6),
    "qwen3-1.7b": _card("Qwen", "Qwen3-1.7B", "Qwen3-1.7B-Base",
        layers=28, hidden_size=2048, heads=16, kv_heads=8, head_size=128, parameters=1.7),
    "qwen3-4b": _card("Qwen", "Qwen3-4B", "Qwen3-4B-Base", "Qwen3-4B-Instruct-2507", "Qwen3-4B-Thinking-2507",
        layers=36, hidden_size=2560, heads=32, kv_heads=8, head_size=128, parameters=4.0),
    "qwen3-8b": _card("Qwen", "Qwen3-8B", "Qwen3-8B-Base",
        layers=36, hidden_size=4096, heads=32, kv_heads=8, head_size=128, parameters=8.2),
    "qwen3-14b": _card("Qwen", "Qwen3-14B", "Qwen3-14B-Base",
        layers=40, hidden_size=5120, heads=40, kv_heads=8, head_size=128, parameters=14.8),
    "qwen3-32b": _card("Qwen", "Qwen3-32B",
        layers=64, hidden_size=5120, heads=64, kv_heads=8, head_size=128, parameters=32.8),
    "qwen3-30b-a3b": _card("Qwen", "Qwen3-30B-A3B", "Qwen3-30B-A3B-Base", "Qwen3-30B-A3B-Instruct-2507",
        "Qwen3-30B-A3B-Thinking-2507", "Qwen3-Coder-30B-A3B-Instruct",
        layers=48, hidden_size=2048, heads=32, kv_heads=4, head_size=128, parameters=30.5, active_parameters=3.3,
        experts=128, experts_per_token=8),
    "qwen3-235b-a22b": _card("Qwen", "Qwen3-235B-A22B", "Qwen3-235B-A22B-Instruct-2507",
        "Qwen3-235B-A22B-Thinking-2507",
        layers=94, hidden_size=4096, heads=64, kv_heads=4, head_size=128, parameters=235.0, active_parameters=22.0,
        experts=128, experts_per_token=8),
    "qwen3-next-80b-a3b": _card("Qwen", "Qwen3-Next-80B-A3B-Instruct", "Qwen3-Next-80B-A3B-Thinking",
        layers=48, full_attention_layers=12, hidden_size=2048, heads=16, kv_heads=2, head_size=256, parameters=80.0,
        active_parameters=3.0, experts=512, experts_per_token=10),
    "mistral-7b": _card("mistralai", "Mistral-7B-v0.3", "Mistral-7B-Instruct-v0.3", "Mistral-7B-Instruct-v0.2",
        layers=32, hidden_size=4096, heads=32, kv_heads=8, head_size=128, parameters=7.25),
    "mistral-nemo-12b": _card("mistralai", "Mistral-Nemo-Base-2407", "Mistral-Nemo-Instruct-2407",
        layers=40, hidden_size=5120, heads=32, kv_heads=8, head_size=128, parameters=12.2),
    "mistral-small-24b": _card("mistralai", "Mistral-Small-24B-Base-2501", "Mistral-Small-24B-Instruct-2501",
        layers=40, hidden_size=5120, heads=32, kv_heads=8, head_size=128, parameters=23.6),
    "mixtral-8x7b": _card("mistralai", "Mixtral-8x7B-v0.1", "Mixtral-8x7B-Instruct-v0.1",
        more="active parameters as in the report, https://arxiv.org/abs/2401.04088",
        layers=32, hidden_size=4096, heads=32, kv_heads=8, head_size=128, parameters=46.7, active_parameters=12.9,
        experts=8, experts_per_token=2),
    "mixtral-8x22b": _card("mistralai", "Mixtral-8x22B-v0.1", "Mixtral-8x22B-Instruct-v0.1",
        more="active parameters as in https://mistral.ai/news/mixtral-8x22b",
        layers=56, hidden_size=6144, heads=48, kv_heads=8, head_size=128, parameters=141.0, active_parameters=39.0,
        experts=8, experts_per_token=2),
    "gpt-oss-20b": _card("openai", "gpt-oss-20b", more=_GPT_OSS,
        layers=24, full_attention_layers=12, hidden_size=2880, heads=64, kv_heads=8, head_size=64, parameters=20.91,
        active_parameters=3.61, experts=32, experts_per_token=4, expert_bytes=_MXFP4),
    "gpt-oss-120b": _card("openai", "gpt-oss-120b", more=_GPT_OSS,
        layers=36, full_attention_layers=18, hidden_size=2880, heads=64, kv_heads=8, head_size=64, parameters=116.83,
        active_parameters=5.13, experts=128, experts_per_token=4, expert_bytes=_MXFP4),
    "deepseek-v3": _card("deepseek-ai", "DeepSeek-V3", "DeepSeek-V3-0324", "DeepSeek-V3.1", "DeepSeek-R1",
        "DeepSeek-R1-0528", more=_LATENT,
        layers=61, hidden_size=7168, heads=128, kv_heads=1, head_size=160, latent_size=576, parameters=671.0,
        active_parameters=37.0, experts=256, experts_per_token=8, weight_bytes=1.0, math="fp8"),
    "kimi-k2": _card("moonshotai", "Kimi-K2-Instruct", "Kimi-K2-Instruct-0905", more=_LATENT,
        layers=61, hidden_size=7168, heads=64, kv_heads=1, head_size=160, latent_size=576, parameters=1000.0,
        active_parameters=32.0, experts=384, experts_per_token=8, weight_bytes=1.0, math="fp8"),
    "glm-4.5-air": _card("zai-org", "GLM-4.5-Air",
        layers=46, hidden_size=4096, heads=96, kv_heads=8, head_size=128, parameters=106.0, active_parameters=12.0,
        experts=128, experts_per_token=8),
    "gemma-3-12b": _card("google", "gemma-3-12b-it", "gemma-3-12b-pt",
        layers=48, full_attention_layers=8, hidden_size=3840, heads=16, kv_heads=8, head_size=256, parameters=12.2),
    "gemma-3-27b": _card("google", "gemma-3-27b-it", "gemma-3-27b-pt",
        layers=62, full_attention_layers=10, hidden_size=5376, heads=32, kv_heads=16, head_size=128, parameters=27.4),
    "phi-4": _card("microsoft", "phi-4",
        layers=40, hidden_size=5120, heads=40, kv_heads=10, head_size=128, parameters=14.7),
}
# fmt: on
"""By name."""


def named_like(model: str) -> str | None:
    """Find the preset for a model, by the name or the path that it is served from.

    :return: its name, or None.
    """
    last = model.rstrip("/").rpartition("/")[2]
    return next((name for name, preset in MODELS.items() if preset.is_called(last)), None)
