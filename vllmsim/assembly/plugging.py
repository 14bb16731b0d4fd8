# -*- test-case-name: tests.assembly.test_plugging -*-
"""Makes what a configuration has from plugins, each behind its guard. It is imported when there is something."""

import random
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from attrs import define, evolve
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from vllmsim.config.plugins import PluginKind, named_plugins, options_of
from vllmsim.config.schema import Configuration
from vllmsim.interfaces import (
    IBlockEventOutlet,
    ICacheMetrics,
    IFailure,
    ILatencyModel,
    IMiddleware,
    IResponseSource,
    IStepTime,
    ITokenizer,
)
from vllmsim.interfaces.plugins import (
    EventSurroundings,
    IBlockEventPublisherFactory,
    IFactory,
    IFailureFactory,
    ILatencyModelFactory,
    IMiddlewareFactory,
    IResponseSourceFactory,
    IStepTimeFactory,
    ITokenizerFactory,
    LatencySurroundings,
    SourceSurroundings,
    StepTimeSurroundings,
    Surroundings,
    TokenizerSurroundings,
)
from vllmsim.latency import LatencyModel
from vllmsim.plugins.guards.blame import Blame
from vllmsim.plugins.guards.events import GuardedOutlet
from vllmsim.plugins.guards.failures import GuardedFailure
from vllmsim.plugins.guards.latencies import GuardedLatency
from vllmsim.plugins.guards.middlewares import guard_middleware
from vllmsim.plugins.guards.sources import GuardedSource
from vllmsim.plugins.guards.steptimes import GuardedStepTime
from vllmsim.plugins.guards.tokenizers import GuardedTokenizer
from vllmsim.plugins.registry import SEAMS, PluginError, create, tell
from vllmsim.randomness import derive
from vllmsim.steptime.choice import make_step_time

S = TypeVar("S", bound=Surroundings)
T = TypeVar("T")


@define(eq=False)
class Plugging:
    """Makes what plugins give to one rank, or to all of a process.

    :param number: the rank, or the first of them.
    :param generator: makes seeded randomness, given names.
    """

    _configuration: Configuration
    _number: int
    _clock: IReactorTime
    _defer_to_thread: Callable[..., Deferred[Any]]
    _generator: Callable[..., random.Random]

    def source(self, tokenizer: ITokenizer, usual: IResponseSource) -> IResponseSource:
        """Make what answers.

        :raises SystemExit: when that cannot be had.
        """
        name = self._configuration.mode
        own = self._surroundings(SourceSurroundings, "source", name, tokenizer=tokenizer, usual=usual)
        return self._start(
            "mode", IResponseSourceFactory, name, own, lambda made, blame: GuardedSource(made, tokenizer, blame)
        )

    def tokenizer(self, usual: ITokenizer) -> ITokenizer:
        """Make what cuts texts.

        :raises SystemExit: when that cannot be had.
        """
        [name] = [name for option, _, name in named_plugins(self._configuration) if option == "tokenizer"]
        own = self._surroundings(TokenizerSurroundings, "tokenizer", name, usual=usual)
        return self._start(
            "tokenizer", ITokenizerFactory, name, own, lambda made, blame: GuardedTokenizer(made, blame, self._clock)
        )

    def outlet(self, name: str, topic: str, metrics: ICacheMetrics) -> IBlockEventOutlet:
        """Make where KV events leave.

        :raises SystemExit: when that cannot be had.
        """
        own = self._surroundings(EventSurroundings, "publisher", name, topic=topic)
        option = next(option for option, kind, _ in named_plugins(self._configuration) if kind == "publisher")
        return self._start(
            option,
            IBlockEventPublisherFactory,
            name,
            own,
            lambda made, blame: GuardedOutlet(made, blame, self._clock, metrics),
        )

    def latency(self) -> ILatencyModel:
        """Make what takes time.

        :raises PluginError: when that cannot be had.
        """
        name = self._configuration.latency_calculator
        usual = LatencyModel(evolve(self._configuration, latency_calculator=""))
        own = self._surroundings(LatencySurroundings, "latency", name, usual=usual)
        return guarded(ILatencyModelFactory, name, own, GuardedLatency)

    def step_time(self) -> IStepTime:
        """Make what tells how long steps take.

        :raises PluginError: when that cannot be had.
        """
        name = self._configuration.step_time
        usual = make_step_time(evolve(self._configuration, step_time=""))
        own = self._surroundings(StepTimeSurroundings, "step", name, usual=usual)
        return guarded(IStepTimeFactory, name, own, lambda made, blame: GuardedStepTime(made, usual, blame))

    def failure(self, name: str) -> IFailure:
        """Make what fails on purpose.

        :raises PluginError: when that cannot be had.
        """
        return guarded(IFailureFactory, name, self._surroundings(Surroundings, "failure", name), GuardedFailure)

    def middleware(self, name: str, options: Mapping[str, Any]) -> IMiddleware:
        """Make what sees exchanges.

        :param options: its own, which stand beside its name.
        :raises PluginError: when that cannot be had.
        """
        own = evolve(self._surroundings(Surroundings, "middleware", name), options=options)
        return guarded(IMiddlewareFactory, name, own, guard_middleware)

    def _surroundings(self, made: Callable[..., S], kind: PluginKind, name: str, **more: Any) -> S:
        c = self._configuration
        return made(
            options=options_of(c, name),
            generator=self._generator("plugin", kind, name, self._number),
            clock=self._clock,
            defer_to_thread=self._defer_to_thread,
            rank=self._number,
            model=c.served_names[0],
            **more,
        )

    @staticmethod
    def _start(option: str, seam: type[IFactory], name: str, own: Surroundings, guard: Callable[[Any, Blame], T]) -> T:
        try:
            return guarded(seam, name, own, guard)
        except PluginError as error:
            raise SystemExit(f"vllmsim: cannot start: {option}: {error}") from error


def shared_plugging(
    configuration: Configuration, clock: IReactorTime, defer_to_thread: Callable[..., Deferred[Any]]
) -> Plugging:
    """Make what makes plugins for all ranks of a process."""

    def generator(*names: object) -> random.Random:
        return derive(configuration.seed or 0, *names[:-1])

    return Plugging(configuration, configuration.ranks.start, clock, defer_to_thread, generator)


def guarded(seam: type[IFactory], name: str, own: Surroundings, guard: Callable[[Any, Blame], T]) -> T:
    """Make what a plugin gives, behind its guard.

    :raises PluginError: when it cannot be had.
    """
    made, kind = create(seam, name, own), SEAMS[seam].kind
    try:
        return guard(made, Blame(kind, name))
    except BaseException as error:
        raise PluginError(f"the {kind} {name} cannot be: {tell(error)}") from error
