# -*- test-case-name: tests.assembly.test_trying -*-
"""Tries what a change of the configuration wants of plugins before it holds, so that none is there by half."""

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from vllmsim.assembly.keeping import times_key
from vllmsim.assembly.plugging import Plugging
from vllmsim.config.middlewares import OURS
from vllmsim.config.pluginnames import CALCULATORS, STEP_TIMES
from vllmsim.config.plugins import named_plugins, options_of
from vllmsim.config.schema import Configuration
from vllmsim.plugins.naming import missing_plugins
from vllmsim.plugins.registry import PluginError
from vllmsim.randomness import derive


def try_plugins(
    before: Configuration, now: Configuration, clock: IReactorTime, defer_to_thread: Callable[..., Deferred[Any]]
) -> list[tuple[str, str]]:
    """Find out whether plugins can be had as a changed configuration wants them. What is made for that is thrown away.

    :return: options, and what is wrong with each as a sentence without its end.
    """
    if faults := missing_plugins(now) or _fixed(before, now):
        return faults
    plugging = Plugging(now, now.ranks.start, clock, defer_to_thread, partial(derive, now.seed or 0))
    wanted: list[tuple[str, Callable[[], object]]] = []
    if now.latency_calculator not in CALCULATORS and _other("latency-calculator", before, now):
        wanted.append(("latency-calculator", plugging.latency))
    if now.step_time not in STEP_TIMES and _other("step-time", before, now):
        wanted.append(("step-time", plugging.step_time))
    wanted += [
        ("failure-plugins", partial(plugging.failure, name))
        for name in now.failure_plugins
        if name not in before.failure_plugins or options_of(before, name) != options_of(now, name)
    ]
    wanted += [
        ("middleware", partial(plugging.middleware, entry.name, entry.options))
        for entry in now.middleware
        if entry.name not in OURS and entry.enabled and entry not in before.middleware
    ]
    for option, make in wanted:
        try:
            make()
        except PluginError as error:
            faults.append((option, str(error)))
    return faults


def _other(option: str, before: Configuration, now: Configuration) -> bool:
    """Tell whether something that takes time, which a plugin gives, is to be made anew."""
    return times_key(option, before) != times_key(option, now)


def _fixed(before: Configuration, now: Configuration) -> list[tuple[str, str]]:
    """Find options that change of plugins that were made at the start, once for all."""
    return [
        ("plugin-options", f"those of {name} cannot change live: the {option} of a server stays as it is")
        for option, kind, name in named_plugins(now)
        if kind not in {"latency", "step", "failure", "middleware"}
        and options_of(before, name) != options_of(now, name)
    ]
