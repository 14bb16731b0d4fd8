# -*- test-case-name: tests.tokenization.test_choice -*-
"""Which tokenizer the configuration asks for, and where its files are. Nothing is downloaded or opened here."""

from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from vllmsim.config.schema import Configuration
from vllmsim.config.tokenizers import TokenizerKind, kind_of_tokenizer
from vllmsim.tokenization.hub.cache import TOKENIZER_FILE, HubModel, hub_cache


@frozen
class Choice:
    """A tokenizer.

    :param kind: what it is.
    :param path: for ``path`` a file or a folder; a model of the hub that is in the cache is one too.
    :param model: for ``hub`` the model whose tokenizer must be downloaded first.
    """

    kind: TokenizerKind
    path: Path | None = None
    model: HubModel | None = None


def choose(configuration: Configuration, environ: Mapping[str, str]) -> Choice:
    """Choose a tokenizer.

    The option ``force-dummy-tokenizer`` comes first, then ``tokenizer``, then the model's own where the model is a
    folder on this machine with one in it, then the words.

    :param environ: the environment, which says where the hub's cache is.
    :raises ValueError: when the option's value means nothing any more, as a file is gone.
    """
    c = configuration
    if c.force_dummy_tokenizer:
        return Choice("words")
    if not c.tokenizer:
        path = _model_folder(c.model)
        return Choice("words") if path is None else Choice("path", path)
    kind = kind_of_tokenizer(c.tokenizer)
    if kind == "path":
        return Choice(kind, Path(c.tokenizer).expanduser())
    if kind != "hub":
        return Choice(kind)
    own = c.revision if c.tokenizer == c.model else None
    model = HubModel(c.tokenizer, c.tokenizer_revision or own or "main")
    path = hub_cache(c, environ).find(model)
    return Choice("hub", model=model) if path is None else Choice("path", path)


def _model_folder(name: str) -> Path | None:
    """Find the folder that a model's name is, if it has a tokenizer."""
    try:
        path = Path(name).expanduser()
        return path if (path / TOKENIZER_FILE).is_file() else None
    except (OSError, RuntimeError, ValueError):
        return None
