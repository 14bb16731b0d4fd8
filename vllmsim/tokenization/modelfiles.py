# -*- test-case-name: tests.tokenization.test_modelfiles -*-
"""What a model's folder says of the model: ``config.json``, and ``generation_config.json`` for sampling defaults.

Nothing here has an effect on answers. It is what gateways are told, who choose parsers and templates by it. Of models
whose files are not on this machine the family is known by their names, for those of which many are served.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from attrs import evolve, field, frozen

from vllmsim.config.schema import Configuration
from vllmsim.tokenization.choice import choose
from vllmsim.tokenization.hub.cache import HubModel, hub_cache

CONFIG: Final = "config.json"
_LARGEST: Final = 1 << 22
"""Bytes of a file that is read."""
_FAMILIES: Final[Mapping[str, tuple[str, str]]] = {
    "qwen3": ("qwen3", "Qwen3ForCausalLM"),
    "qwen2": ("qwen2", "Qwen2ForCausalLM"),
    "llama": ("llama", "LlamaForCausalLM"),
    "mixtral": ("mixtral", "MixtralForCausalLM"),
    "mistral": ("mistral", "MistralForCausalLM"),
    "gpt-oss": ("gpt_oss", "GptOssForCausalLM"),
    "gemma-3": ("gemma3_text", "Gemma3ForCausalLM"),
    "phi-3": ("phi3", "Phi3ForCausalLM"),
}
"""The ``model_type`` and the class of models, by what is in their names."""
_NUMBERS: Final[Mapping[str, str]] = {"half": "float16", "float": "float32"}


@frozen(kw_only=True)
class ModelFiles:
    """What the files say.

    :param kind: the family: ``model_type``.
    :param architectures: the classes that implement it.
    :param ends: ids of tokens that end an answer.
    :param pad: the id of the token that fills gaps.
    :param bos: the id of the token that begins a text.
    :param vocabulary_size: every id is below it; None where they do not say.
    :param dtype: the number type of the weights; None where they do not say.
    :param sampling: defaults of sampling parameters.
    """

    kind: str = ""
    architectures: tuple[str, ...] = ()
    ends: tuple[int, ...] = ()
    pad: int = 0
    bos: int = 0
    vocabulary_size: int | None = None
    dtype: str | None = None
    sampling: Mapping[str, Any] = field(factory=dict)


def describe_model(configuration: Configuration, environ: Mapping[str, str]) -> ModelFiles:
    """Find out about the model of a configuration; this reads files.

    Its files are in the folder that its name is, or in the hub's cache, or beside its tokenizer.

    :param environ: the environment, which says where the hub's cache is.
    """
    c = configuration
    folder = next((place for place in _places(c, environ) if _is_file(place / CONFIG)), None)
    files = family_of(c.model) if folder is None else read_model(folder)
    if c.generation_config == "auto":
        sampling = files.sampling
    else:
        sampling = {} if c.generation_config == "vllm" else read_sampling(Path(c.generation_config))
    return evolve(files, sampling={**sampling, **c.override_generation_config})


def _places(c: Configuration, environ: Mapping[str, str]) -> Iterator[Path]:
    """List where a model's files may be."""
    with suppress(RuntimeError):
        yield Path(c.model).expanduser()
    model = HubModel(c.model, c.revision or "main")
    if (found := hub_cache(c, environ).find(model)) is not None:
        yield found
    with suppress(ValueError):
        if (path := choose(c, environ).path) is not None:
            yield path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def read_model(folder: Path) -> ModelFiles:
    """Read a model's folder. A file that is missing, or is not what it should be, says nothing."""
    config = _read_object(folder / CONFIG)
    # Models that see have what is said of their words in a part.
    inner = config.get("text_config")
    words = {**inner, **config} if isinstance(inner, Mapping) else config
    return ModelFiles(
        kind=_text(config.get("model_type")),
        architectures=tuple(each for each in _list(config.get("architectures")) if isinstance(each, str)),
        ends=_ids(words.get("eos_token_id")),
        pad=next(iter(_ids(words.get("pad_token_id"))), 0),
        bos=next(iter(_ids(words.get("bos_token_id"))), 0),
        vocabulary_size=next(iter(_ids(words.get("vocab_size"))), None),
        dtype=number_type(_text(words.get("dtype") or words.get("torch_dtype"))) or None,
        sampling=read_sampling(folder),
    )


def read_sampling(folder: Path) -> Mapping[str, Any]:
    """Read the sampling defaults of a folder."""
    return {name: value for name, value in _read_object(folder / "generation_config.json").items() if _is_number(value)}


def family_of(name: str) -> ModelFiles:
    """Guess the family of a model by its name."""
    last = name.rstrip("/").rpartition("/")[2].lower()
    for part, (kind, architecture) in _FAMILIES.items():
        if part in last:
            return ModelFiles(kind=kind, architectures=(architecture,))
    return ModelFiles()


def number_type(text: str) -> str:
    """Find the usual name of a number type, such as ``float16`` for ``half`` or ``torch.float16``."""
    name = text.removeprefix("torch.")
    return _NUMBERS.get(name, name)


def _read_object(path: Path) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > _LARGEST:
            return {}
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _ids(value: object) -> tuple[int, ...]:
    """Read one id, or a list of them."""
    given = value if isinstance(value, list) else [value]
    return tuple(each for each in given if isinstance(each, int) and not isinstance(each, bool) and each >= 0)
