# -*- test-case-name: tests.config.test_plugins -*-
"""Which plugins a configuration names, and what it says to them. Nobody looks here for those that there are."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeAlias

from vllmsim.config.middlewares import OURS as MIDDLEWARES
from vllmsim.config.pluginnames import CALCULATORS, MODES, PUBLISHERS, STEP_TIMES, TOKENIZER
from vllmsim.config.schema import Configuration

PluginKind: TypeAlias = Literal["source", "latency", "step", "tokenizer", "failure", "publisher", "middleware"]


def named_plugins(configuration: Configuration) -> Iterator[tuple[str, PluginKind, str]]:
    """List the plugins that a configuration names, whether there are such or not.

    :return: of each the option, what it is to be, and its name.
    """
    c = configuration
    if c.mode not in MODES:
        yield "mode", "source", c.mode
    if c.latency_calculator not in CALCULATORS:
        yield "latency-calculator", "latency", c.latency_calculator
    if c.step_time not in STEP_TIMES:
        yield "step-time", "step", c.step_time
    if c.tokenizer.startswith(TOKENIZER):
        yield "tokenizer", "tokenizer", c.tokenizer.removeprefix(TOKENIZER)
    for name in c.failure_plugins:
        yield "failure-plugins", "failure", name
    for entry in c.middleware:
        if entry.name not in MIDDLEWARES:
            yield "middleware", "middleware", entry.name
    option, publisher = publisher_of(c)
    if publisher not in PUBLISHERS:
        yield option, "publisher", publisher


def has_plugins(configuration: Configuration) -> bool:
    """Tell whether a configuration names a plugin, or has options for one."""
    return bool(configuration.plugin_options) or any(True for _ in named_plugins(configuration))


def publisher_of(configuration: Configuration) -> tuple[str, str]:
    """Find who publishes KV events, if anybody does.

    :return: the option that says so, and the name.
    """
    if configuration.kv_events_config is None:
        return "kv-events-publisher", configuration.kv_events_publisher
    return "kv-events-config", configuration.kv_events_config.get("publisher") or PUBLISHERS[0]


def options_of(configuration: Configuration, name: str) -> Mapping[str, Any]:
    """Find what is said to plugins of a name."""
    options: Mapping[str, Any] = (configuration.plugin_options or {}).get(name, {})
    return options


def plugin_options_fault(configuration: Configuration) -> str | None:
    """Say what is wrong with the form of ``plugin-options``."""
    for name, options in (configuration.plugin_options or {}).items():
        if not isinstance(options, Mapping):
            return f"{name} must have a map of options, not {options!r}"
        if not all(isinstance(each, str) for each in options):
            return f"{name} has an option whose name is no text"
    return None
