# -*- test-case-name: tests.processes.test_health -*-
"""Whether all ranks are well, as vLLM's data-parallel supervisor finds it out.

Each rank is asked at an interval. Well is who answers 200. Another status counts at once, no answer only when it has
happened several times in a row; and a rank whose process has ended, or does not listen yet, is not well either.
"""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, ClassVar

from attrs import define, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import OK

Probe = Callable[[], Coroutine[Deferred[Any], Any, int]]
"""Asks a rank how it is: returns the status of its answer, and fails where there is none."""


@frozen
class Pace:
    """When to ask ranks how they are.

    :param interval: seconds from an answer to the next question.
    :param timeout: seconds that an answer may take.
    :param threshold: how many failures in a row count.
    """

    interval: float
    timeout: float
    threshold: int


@define(eq=False)
class _State:
    """What is known of a rank.

    :param well: None before anything is.
    :param failures: how often in a row it gave no answer.
    :param watch: asks it, while it is there.
    """

    well: bool | None = None
    failures: int = 0
    watch: Deferred[None] | None = None


class RankHealth:
    """Watches ranks.

    :param probes: how to ask each rank, by its number.
    :param began: is called once, when all of them are well for the first time.
    """

    _log: ClassVar[Logger] = Logger()

    def __init__(
        self, clock: IReactorTime, probes: Mapping[int, Probe], pace: Pace, began: Callable[[], object]
    ) -> None:
        self._clock = clock
        self._probes = probes
        self._pace = pace
        self._began: Callable[[], object] | None = began
        self._ranks = {rank: _State() for rank in probes}
        self._closed = False

    @property
    def well(self) -> bool:
        """Whether all ranks are."""
        return not self._closed and all(state.well for state in self._ranks.values())

    def watch(self, rank: int) -> None:
        """Learn that a rank listens: ask it now, and from then on."""
        self.forget(rank)
        if not self._closed:
            self._ranks[rank].watch = Deferred.fromCoroutine(self._watch(rank)).addErrback(_dropped)

    def forget(self, rank: int) -> None:
        """Learn that a rank's process has ended: it is not well, until it is watched again."""
        state, self._ranks[rank] = self._ranks[rank], _State()
        if state.watch is not None:
            state.watch.cancel()

    def close(self) -> None:
        """Be well no more, and ask nobody."""
        self._closed = True
        for rank in self._ranks:
            self.forget(rank)

    async def _watch(self, rank: int) -> None:
        state = self._ranks[rank]
        while True:
            fault = await self._ask(rank, state)
            if fault is None:
                self._found_well(rank, state)
            elif state.well is not False:
                state.well = False
                self._log.warn("Rank {rank} is not well: {fault}.", rank=rank, fault=fault)
            await deferLater(self._clock, self._pace.interval)

    async def _ask(self, rank: int, state: _State) -> str | None:
        """Ask a rank once.

        :return: why it is not well, if so.
        """
        try:
            status = await Deferred.fromCoroutine(self._probes[rank]()).addTimeout(self._pace.timeout, self._clock)
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever keeps it from answering
            state.failures += 1
            patient = state.well and state.failures < self._pace.threshold
            return None if patient else f"no answer, {type(error).__name__}, {state.failures} in a row"
        state.failures = 0
        return None if status == OK else f"its /health answers {status}"

    def _found_well(self, rank: int, state: _State) -> None:
        if state.well:
            return
        state.well = True
        self._log.info("Rank {rank} is well.", rank=rank)
        if self.well and self._began is not None:
            began, self._began = self._began, None
            began()


def _dropped(failure: Failure) -> None:
    failure.trap(CancelledError)
