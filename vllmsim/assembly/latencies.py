# -*- test-case-name: tests.assembly.test_latencies -*-
"""What takes the time that a configuration says: our calculators and step times, or a plugin's."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from vllmsim.config.pluginnames import CALCULATORS, STEP_TIMES
from vllmsim.config.schema import Configuration
from vllmsim.interfaces import ILatencyModel, IStepTime
from vllmsim.latency import LatencyModel
from vllmsim.randomness import Randomness

if TYPE_CHECKING:
    from vllmsim.assembly.keeping import KeptTimes

T = TypeVar("T")


@define(eq=False)
class Times:
    """Makes what takes the time of a rank, one configuration after the other.

    :param number: which rank it is, from 0.
    """

    _number: int
    _clock: IReactorTime
    _defer_to_thread: Callable[..., Deferred[Any]]
    _randomness: Randomness
    _kept: dict[str, "KeptTimes[Any]"] = field(init=False, factory=dict)
    _latest: dict[str, Any] = field(init=False, factory=dict)

    def latency(self, configuration: Configuration) -> ILatencyModel:
        """Make the latency model that a configuration wants.

        :raises SystemExit: when the first wants what cannot be had.
        """
        ours = configuration.latency_calculator in CALCULATORS
        return self._made("latency-calculator", configuration, LatencyModel if ours else None)

    def step_time(self, configuration: Configuration) -> IStepTime:
        """Make the step time that a configuration wants.

        :raises SystemExit: when the first wants what cannot be had.
        """
        from vllmsim.steptime.choice import make_step_time  # noqa: PLC0415 - others can do without

        return self._made("step-time", configuration, make_step_time if configuration.step_time in STEP_TIMES else None)

    def _made(self, option: str, configuration: Configuration, ours: Callable[[Configuration], T] | None) -> T:
        kept = self._kept.get(option)
        if ours is not None:
            if kept is not None:
                kept.forget()
            self._latest[option] = made = ours(configuration)
            return made
        if kept is None:
            from vllmsim.assembly.keeping import KeptTimes  # noqa: PLC0415 - few servers have plugins

            kept = KeptTimes(option, self._number, self._clock, self._defer_to_thread, self._randomness)
            self._kept[option] = kept
        taken: T = kept.times(configuration, self._latest.get(option))
        self._latest[option] = taken
        return taken
