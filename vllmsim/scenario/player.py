# -*- test-case-name: tests.scenario.test_player -*-
"""Plays scenarios: each step at its time, each ramp in ticks, and in the end all as it was.

Everything random begins again from the scenario's seed when it begins, so that the same requests at the same times have
the same fate again. Options change in the one way in which all others change them too. Deadlines are absolute: what
comes late makes nothing later.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Final

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from vllmsim.config.scenario.course import options_of
from vllmsim.config.scenario.values import PRESSURE, TICK, Scenario, Step
from vllmsim.errors import Conflict, InferenceError, InvalidRequest
from vllmsim.interfaces import IScenarios
from vllmsim.scenario.options import ScenarioOptions
from vllmsim.scenario.playing import Playing
from vllmsim.scenario.stage import Stage

_MOST_SHOWN: Final = 300
_AT_ONCE: Final = 8
"""How many times that are over are made up for before other events are let in: some milliseconds."""


class _Stopped(Exception):
    """A scenario ends before its time."""


@implementer(IScenarios)
@define(eq=False)
class Scenarios:
    """Plays one scenario at a time on the ranks of this process.

    :param options: has those of all ranks changed.
    :param seed: the server's, for scenarios that have none.
    :param epoch: tells seconds since the epoch.
    :param defer_to_thread: runs a function off the reactor.
    :param begun: hears when everything begins again, if somebody wants to.
    """

    _log: ClassVar[Logger] = Logger()

    _clock: IReactorTime
    _options: ScenarioOptions
    _seed: int
    _epoch: Callable[[], float]
    _defer_to_thread: Callable[..., Deferred[Any]]
    _begun: Callable[[], object] | None = None
    _stages: dict[int, Stage] = field(init=False, factory=dict)
    _playing: Playing | None = field(init=False, default=None)
    """What is played, or was last."""
    _turn: DeferredLock = field(init=False, factory=DeferredLock)
    """Whose turn it is to start or to stop."""

    def enlist(self, stage: Stage) -> None:
        """Play on one more rank from now on."""
        self._stages[stage.number] = stage

    def concerns(self, scenario: Scenario) -> bool:
        """Tell whether a scenario is for ranks of this process."""
        return bool(self._stages_for(scenario))

    def _stages_for(self, scenario: Scenario) -> list[Stage]:
        return [each for each in self._stages.values() if scenario.rank in {None, each.number}]

    async def start(self, text: bytes, *, json: bool, rank: int | None, replace: bool) -> None:
        """Begin a scenario; see :class:`vllmsim.interfaces.IScenarios`."""
        self._require_rest(replace)
        # What reads them takes some time to be imported, and many servers never play one.
        from vllmsim.config.scenario.reading import read_scenario  # noqa: PLC0415

        configurations = {number: stage.live.current for number, stage in self._stages.items()}
        read = partial(read_scenario, text, configurations, json=json, rank=rank)
        scenario = await self._defer_to_thread(read)
        await self.play(scenario, replace=replace)

    async def play(self, scenario: Scenario, *, replace: bool = False) -> None:
        """Begin a scenario that goes with the server.

        Awaiting raises what :meth:`start` raises for who comes too early, or to the wrong process.

        :param replace: stop the one that is played first.
        """
        stages = self._stages_for(scenario)
        if not stages:
            there = ", ".join(map(str, self._stages))
            raise InvalidRequest(f"Rank {scenario.rank} is not served by this process, which has {there}.", "rank")
        await self._turn.acquire()
        try:
            self._require_rest(replace)
            await self._stop()
            self._begin(scenario, stages)
        finally:
            self._turn.release()

    async def stop(self) -> bool:
        """Stop; see :class:`vllmsim.interfaces.IScenarios`."""
        await self._turn.acquire()
        try:
            return await self._stop()
        finally:
            self._turn.release()

    def describe(self) -> Mapping[str, Any]:
        """Tell what is played, or was last; see :class:`vllmsim.interfaces.IScenarios`."""
        playing = self._playing
        return {
            "running": playing is not None and playing.outcome is None,
            "scenario": None if playing is None else playing.describe(self._clock.seconds()),
        }

    def _require_rest(self, replace: bool) -> None:
        playing = self._playing
        if playing is not None and playing.outcome is None and not replace:
            raise Conflict(
                f"The scenario {playing.scenario.name!r} is played; stop it first, or replace it with replace=true."
            )

    async def _stop(self) -> bool:
        playing = self._playing
        if playing is None or playing.outcome is not None:
            return False
        playing.stopping = True
        if playing.waiting is not None:
            playing.waiting.cancel()
        await playing.done
        return True

    def _begin(self, scenario: Scenario, stages: Sequence[Stage]) -> None:
        seed = self._seed if scenario.seed is None else scenario.seed
        playing = self._playing = Playing(scenario, stages, seed, self._clock.seconds(), self._epoch())
        ranks = ", ".join(str(stage.number) for stage in stages)
        self._log.info(
            "Scenario {name} begins with seed {seed} on rank {ranks}.", name=scenario.name, seed=seed, ranks=ranks
        )
        if self._begun is not None:
            self._begun()
        for stage in stages:
            stage.begin(seed)
            stage.rest()
        Deferred.fromCoroutine(self._play(playing)).addErrback(self._complain)

    def _complain(self, reason: Any) -> None:
        self._log.failure("A scenario broke.", reason)

    async def _play(self, playing: Playing) -> None:
        """Play all rounds, and have all as it was in the end, however that came."""
        outcome = "finished"
        try:
            await self._play_rounds(playing)
        except _Stopped:
            outcome = "stopped"
        except Exception:  # noqa: BLE001 - whatever went wrong, all must be as it was
            outcome = "failed"
            self._log.failure("Scenario {name} went wrong.", name=playing.scenario.name)
        try:
            await self._end(playing)
        finally:
            playing.outcome, playing.lasted = outcome, self._clock.seconds() - playing.begun
            self._log.info("Scenario {name} has {outcome}.", name=playing.scenario.name, outcome=_ENDS[outcome])
            playing.done.callback(None)

    async def _end(self, playing: Playing) -> None:
        if not playing.scenario.keep:
            await self._restore(playing)
        for stage in playing.stages:
            stage.rest()
            stage.forget()

    async def _play_rounds(self, playing: Playing) -> None:
        repeat = playing.scenario.repeat
        while True:
            await self._play_round(playing)
            if playing.round == repeat:
                return
            await self._restore(playing)
            playing.round, playing.taken, playing.time = playing.round + 1, 0, 0.0

    async def _play_round(self, playing: Playing) -> None:
        scenario = playing.scenario
        for step in scenario.steps:
            await self._go_on(playing, step.at)
            playing.taken = step.number
            await self._take(playing, step)
        await self._go_on(playing, scenario.duration)

    async def _go_on(self, playing: Playing, until: float) -> None:
        """Let time go by, and ramps go on, until a time of this round."""
        begun = playing.round_begun
        while (time := min(stage.course.next(playing.time) for stage in playing.stages)) <= until:
            await self._wait(playing, begun + time)
            # Where the reactor was late there may be several ticks to make up for: the last is all that counts.
            late = math.floor((self._clock.seconds() - begun) / TICK) * TICK
            playing.time = max(time, min(late, until))
            ramped = {stage: stage.course.go_on(playing.time) for stage in playing.stages}
            await self._change(playing, ramped)
        await self._wait(playing, begun + until)
        playing.time = until

    async def _wait(self, playing: Playing, until: float) -> None:
        """Wait for a time, if it is to come; where many times are over, let other events in now and then.

        :raises _Stopped: when the scenario is to end. It never does so while something changes.
        """
        delay = until - self._clock.seconds()
        playing.hurried = 0 if delay > 0 else playing.hurried + 1
        if (delay > 0 or not playing.hurried % _AT_ONCE) and not playing.stopping:
            playing.waiting = deferLater(self._clock, max(0.0, delay))
            try:
                await playing.waiting
            except CancelledError:
                pass
            finally:
                playing.waiting = None
        if playing.stopping:
            raise _Stopped

    async def _take(self, playing: Playing, step: Step) -> None:
        playing.troubles.pop(step.number, None)
        ramped = {stage: stage.course.begin(step, stage.starts(step)) for stage in playing.stages}
        await self._change(playing, ramped, step)
        troubles = dict.fromkeys(trouble for stage in playing.stages for trouble in stage.act(step))
        self._tell(playing, step)
        for trouble in troubles:
            self._blame(playing, step, trouble)

    def _tell(self, playing: Playing, step: Step) -> None:
        does = json.dumps(step.shown)
        self._log.info(
            "Scenario {name} step {number} at {at:g} s: {does} {note}",
            name=playing.scenario.name,
            number=step.number,
            at=step.at,
            does=does if len(does) <= _MOST_SHOWN else does[:_MOST_SHOWN] + "...",
            note=step.note,
        )

    def _blame(self, playing: Playing, step: Step, trouble: str) -> None:
        """Remember what went wrong with a step, and log it once."""
        if trouble not in playing.troubles.get(step.number, ""):
            known = playing.troubles.get(step.number)
            playing.troubles[step.number] = trouble if known is None else f"{known}; {trouble}"[:_MOST_SHOWN]
            self._log.warn(
                "Scenario {name} step {number}: {trouble}",
                name=playing.scenario.name,
                number=step.number,
                trouble=trouble,
            )

    # Options

    async def _change(
        self, playing: Playing, ramped: Mapping[Stage, Mapping[str, float]], step: Step | None = None
    ) -> None:
        """Change options, and what is ramped beside them.

        :param ramped: where ramps are, by rank.
        :param step: what begins now, if something does.
        """
        changes = {stage: options_of(step, values) for stage, values in ramped.items()}
        for stage, options in changes.items():
            stage.remember(options)
        try:
            await self._options.change(playing.scenario.name, changes)
        except InferenceError as error:
            self._blame(playing, step or playing.ramping(), error.message)
        for stage, options in changes.items():
            stage.given(options)
            pressure = ramped[stage].get(PRESSURE)
            if pressure is not None and (trouble := stage.press(pressure)):
                self._blame(playing, playing.ramping(PRESSURE), trouble)

    async def _restore(self, playing: Playing) -> None:
        """Have all as it was before, but for what others have changed since."""
        await self._options.restore(playing.scenario.name, playing.stages)
        for stage in playing.stages:
            stage.rest()
            stage.restore()


_ENDS: Final = {"finished": "come to its end", "stopped": "been stopped", "failed": "been given up"}
