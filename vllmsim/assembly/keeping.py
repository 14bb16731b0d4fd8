# -*- test-case-name: tests.assembly.test_keeping -*-
"""Keeps what plugins give to a rank as a configuration that changes has it. Imported when it first has something."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, ClassVar, Final, Generic, TypeVar

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from vllmsim.assembly.plugging import Plugging
from vllmsim.config.plugins import options_of
from vllmsim.config.schema import Configuration, own_options
from vllmsim.failures.injection import FailureInjection
from vllmsim.interfaces import IFailure
from vllmsim.plugins.registry import PluginError
from vllmsim.randomness import Randomness

T = TypeVar("T")


@frozen
class _Kind:
    """What takes time.

    :param group: its options.
    :param further: fields of options elsewhere that it depends on.
    :param make: makes it.
    """

    group: str
    further: tuple[str, ...]
    make: Callable[[Plugging], Any]


_KINDS: Final[Mapping[str, _Kind]] = {
    "latency-calculator": _Kind(
        "latency", ("max_num_seqs", "time_to_generate_image", "time_to_generate_image_std_dev"), Plugging.latency
    ),
    "step-time": _Kind("step-time", (), Plugging.step_time),
}
"""By the option that names it."""


@cache
def _attributes(option: str) -> tuple[str, ...]:
    """List the options that have to do with it."""
    kind = _KINDS[option]
    return (*(each.attribute for each in own_options() if each.group == kind.group), *kind.further)


def times_key(option: str, configuration: Configuration) -> tuple[Any, ...]:
    """Tell what depends on a plugin that takes time.

    :param option: the one that names it.
    """
    attributes = _attributes(option)
    name = getattr(configuration, option.replace("-", "_"))
    return (options_of(configuration, name), *(getattr(configuration, each) for each in attributes))


@define(eq=False)
class KeptTimes(Generic[T]):
    """What takes time and comes from a plugin, which stays until something about it changes.

    :param option: the one that names it.
    """

    _log: ClassVar[Logger] = Logger()

    _option: str
    _number: int
    _clock: IReactorTime
    _defer_to_thread: Callable[..., Deferred[Any]]
    _randomness: Randomness
    _key: tuple[Any, ...] | None = field(init=False, default=None)
    _made: T | None = field(init=False, default=None)

    def forget(self) -> None:
        """Have the next be a new one."""
        self._key = None

    def times(self, configuration: Configuration, former: T | None) -> T:
        """Make the one that a configuration wants, if it is not there.

        :param former: what there is in its place, if there is anything.
        :raises SystemExit: when it cannot be had, and there is none yet. Otherwise that is logged, and the former
            stays: a change that leads here has been tried before.
        """
        key = times_key(self._option, configuration)
        if self._made is not None and key == self._key:
            return self._made
        plugging = Plugging(configuration, self._number, self._clock, self._defer_to_thread, self._randomness.renewed)
        try:
            made: T = _KINDS[self._option].make(plugging)
        except PluginError as error:
            if former is None:
                raise SystemExit(f"vllmsim: cannot start: {self._option}: {error}") from error
            self._log.error("{option}: {error}; the former stays.", option=self._option, error=error)
            return former
        self._made, self._key = made, key
        return made


@define(eq=False)
class KeptFailures:
    """The failures of plugins; one whose options stay as they are stays too."""

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
            try:
                self._make(name, configuration)
            except PluginError as error:
                raise SystemExit(f"vllmsim: cannot start: failure-plugins: {error}") from error
        self._tell(configuration)

    def change(self, before: Configuration, now: Configuration) -> None:
        """Go by another configuration. A change that leads here has been tried before."""
        if before.failure_plugins == now.failure_plugins and before.plugin_options == now.plugin_options:
            return
        for name in now.failure_plugins:
            try:
                self._make(name, now)
            except PluginError as error:
                self._log.error("failure-plugins: {error}; it stays as it was.", error=error)
        self._tell(now)

    def _make(self, name: str, configuration: Configuration) -> None:
        options = options_of(configuration, name)
        if name not in self._made or self._made[name][0] != options:
            plugging = Plugging(
                configuration, self._number, self._clock, self._defer_to_thread, self._randomness.renewed
            )
            self._made[name] = options, plugging.failure(name)

    def _tell(self, configuration: Configuration) -> None:
        self._made = {name: made for name, made in self._made.items() if name in configuration.failure_plugins}
        asked = [name for name in dict.fromkeys(configuration.failure_plugins) if name in self._made]
        self._failures.ask_too({name: self._made[name][1] for name in asked})
