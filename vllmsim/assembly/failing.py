# -*- test-case-name: tests.assembly.test_failing -*-
"""What fails on purpose: our own failures, and those of plugins behind them."""

from collections.abc import Callable
from typing import Any, ClassVar

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from vllmsim.assembly.measuring import Measures
from vllmsim.config.live import LiveConfiguration
from vllmsim.config.plugins import options_of
from vllmsim.config.schema import Configuration
from vllmsim.failures.injection import FailureInjection
from vllmsim.interfaces import IFailure
from vllmsim.randomness import Randomness


def make_failures(
    live: LiveConfiguration,
    number: int,
    clock: IReactorTime,
    defer_to_thread: Callable[..., Deferred[Any]],
    randomness: Randomness,
    measures: Measures,
) -> FailureInjection:
    """Make what decides which requests of a rank fail.

    :param number: which rank it is, from 0.
    :raises SystemExit: when that of a plugin cannot be had.
    """
    failures = FailureInjection(live, randomness.number("failures", number), measures.failures)
    randomness.feed(failures.reseed, "failures", number)
    plugins = FailurePlugins(failures, number, clock, defer_to_thread, randomness)
    live.watch(plugins.change)
    if live.current.failure_plugins:
        plugins.start(live.current)
    return failures


@define(eq=False)
class FailurePlugins:
    """Keeps the failures of plugins as the configuration has them; one whose options stay as they are stays too."""

    _log: ClassVar[Logger] = Logger()

    _failures: FailureInjection
    _number: int
    _clock: IReactorTime
    _defer_to_thread: Callable[..., Deferred[Any]]
    _randomness: Randomness
    _made: dict[str, tuple[Any, IFailure]] = field(init=False, factory=dict)

    def start(self, configuration: Configuration) -> None:
        """Make them for the first time.

        :raises SystemExit: when one cannot be had.
        """
        for name in configuration.failure_plugins:
            self._make(name, configuration)
        self._tell(configuration)

    def change(self, before: Configuration, now: Configuration) -> None:
        """Go by another configuration. A change that leads here has been tried before."""
        if before.failure_plugins == now.failure_plugins and before.plugin_options == now.plugin_options:
            return
        for name in now.failure_plugins:
            try:
                self._make(name, now)
            except SystemExit as error:
                self._log.error("{error}; it stays as it was.", error=error)
        self._tell(now)

    def _make(self, name: str, configuration: Configuration) -> None:
        options = options_of(configuration, name)
        if name in self._made and self._made[name][0] == options:
            return
        # Few servers have plugins.
        from vllmsim.assembly.plugging import Plugging  # noqa: PLC0415
        from vllmsim.plugins.registry import PluginError  # noqa: PLC0415

        plugging = Plugging(configuration, self._number, self._clock, self._defer_to_thread, self._randomness.renewed)
        try:
            self._made[name] = options, plugging.failure(name)
        except PluginError as error:
            raise SystemExit(f"vllmsim: cannot start: failure-plugins: {error}") from error

    def _tell(self, configuration: Configuration) -> None:
        self._made = {name: made for name, made in self._made.items() if name in configuration.failure_plugins}
        asked = [name for name in dict.fromkeys(configuration.failure_plugins) if name in self._made]
        self._failures.ask_too({name: self._made[name][1] for name in asked})
