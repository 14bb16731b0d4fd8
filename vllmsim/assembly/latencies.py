# -*- test-case-name: tests.assembly.test_latencies -*-
"""What takes the time that a configuration says: our calculators, or a plugin's model."""

from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from vllmsim.config.plugins import CALCULATORS, options_of
from vllmsim.config.schema import Configuration, own_options
from vllmsim.interfaces import ILatencyModel
from vllmsim.latency import LatencyModel
from vllmsim.randomness import Randomness


@cache
def _attributes() -> tuple[str, ...]:
    """List the options that have to do with latencies."""
    further = "max_num_seqs", "time_to_generate_image", "time_to_generate_image_std_dev"
    return (*(option.attribute for option in own_options() if option.group == "latency"), *further)


def latency_key(configuration: Configuration) -> tuple[Any, ...]:
    """Tell what a plugin's latency model depends on."""
    options = options_of(configuration, configuration.latency_calculator)
    return (options, *(getattr(configuration, each) for each in _attributes()))


@define(eq=False)
class Latencies:
    """Makes the latency models of one rank. That of a plugin is kept until something about latencies changes."""

    _log: ClassVar[Logger] = Logger()

    _number: int
    _clock: IReactorTime
    _defer_to_thread: Callable[..., Deferred[Any]]
    _randomness: Randomness
    _key: tuple[Any, ...] | None = field(init=False, default=None)
    _model: ILatencyModel | None = field(init=False, default=None)

    def __call__(self, configuration: Configuration) -> ILatencyModel:
        """Make the model that a configuration wants.

        :raises SystemExit: when a plugin's cannot be had, and there is none yet. Otherwise that is logged, and the
            former stays: a change that leads here has been tried before.
        """
        if configuration.latency_calculator in CALCULATORS:
            self._key, self._model = None, LatencyModel(configuration)
            return self._model
        key = latency_key(configuration)
        if self._model is None or key != self._key:
            self._model, self._key = self._made(configuration), key
        return self._model

    def _made(self, configuration: Configuration) -> ILatencyModel:
        # Few servers have plugins.
        from vllmsim.assembly.plugging import Plugging  # noqa: PLC0415
        from vllmsim.plugins.registry import PluginError  # noqa: PLC0415

        plugging = Plugging(configuration, self._number, self._clock, self._defer_to_thread, self._randomness.renewed)
        try:
            return plugging.latency()
        except PluginError as error:
            if self._model is None:
                raise SystemExit(f"vllmsim: cannot start: latency-calculator: {error}") from error
            self._log.error("latency-calculator: {error}; the former stays.", error=error)
            return self._model
