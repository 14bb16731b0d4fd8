# -*- test-case-name: tests.plugins.test_naming -*-
"""Looks whether there are the plugins that a configuration names, and those that it has options for."""

import difflib
from collections.abc import Mapping
from typing import Final

from vllmsim.config.plugins import PluginKind, named_plugins
from vllmsim.config.schema import Configuration
from vllmsim.interfaces.plugins import (
    IBlockEventPublisherFactory,
    IFactory,
    IFailureFactory,
    ILatencyModelFactory,
    IMiddlewareFactory,
    IResponseSourceFactory,
    IStepTimeFactory,
    ITokenizerFactory,
)
from vllmsim.plugins.registry import PluginError, find, search

KINDS: Final[Mapping[PluginKind, type[IFactory]]] = {
    "source": IResponseSourceFactory,
    "latency": ILatencyModelFactory,
    "step": IStepTimeFactory,
    "tokenizer": ITokenizerFactory,
    "failure": IFailureFactory,
    "publisher": IBlockEventPublisherFactory,
    "middleware": IMiddlewareFactory,
}
"""What the kinds are that options name."""


def missing_plugins(configuration: Configuration) -> list[tuple[str, str]]:
    """Find what a configuration names in vain.

    :return: options, and what is wrong with each as a sentence without its end.
    """
    faults = []
    for option, kind, name in named_plugins(configuration):
        try:
            find(KINDS[kind], name)
        except PluginError as error:
            faults.append((option, str(error)))
    if configuration.plugin_options:
        known = list(dict.fromkeys(plugin.name for plugin in search()[0]))
        for name in configuration.plugin_options:
            if name not in known:
                guess = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
                hint = f"; did you mean {guess[0]}?" if guess else ""
                faults.append(("plugin-options", f"there is no plugin {name!r:.100}{hint}"))
    return faults
