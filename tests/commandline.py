"""Configurations for tests, from the words of a command line."""

from collections.abc import Mapping, Sequence

from vllmsim.config.arguments import scan
from vllmsim.config.loading import Loaded, load


def load_words(words: Sequence[str], environ: Mapping[str, str]) -> Loaded:
    """Read a command line and put the configuration together."""
    return load(scan(words), environ)
