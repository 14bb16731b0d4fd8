# -*- test-case-name: tests.grpc.test_health -*-
"""Who waits for something to change that tells nobody: looked at for all of them, and only while there are any."""

from collections.abc import Callable
from typing import ClassVar

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger


@define(eq=False)
class Watched:
    """Something that may change.

    :param interval: seconds between looks.
    :param look: tells how it is.
    """

    _log: ClassVar[Logger] = Logger()

    _clock: IReactorTime
    _interval: float
    _look: Callable[[], object]
    _waiting: dict[Deferred[None], object] = field(init=False, factory=dict)
    """What each knows."""
    _loop: LoopingCall = field(init=False)

    @_loop.default
    def _make_loop(self) -> LoopingCall:
        loop = LoopingCall(self._compare)
        loop.clock = self._clock
        return loop

    def change(self, known: object) -> Deferred[None]:
        """Wait until it is not what somebody knows.

        :return: fires at a look that finds it otherwise. Cancelling it waits no more.
        """
        waiter: Deferred[None] = Deferred(self._leave)
        self._waiting[waiter] = known
        if not self._loop.running:
            self._loop.start(self._interval, now=False).addErrback(lambda reason: self._log.failure("Watching", reason))
        return waiter

    def _leave(self, waiter: Deferred[None]) -> None:
        del self._waiting[waiter]
        self._rest()

    def _rest(self) -> None:
        if not self._waiting and self._loop.running:
            self._loop.stop()

    def _compare(self) -> None:
        now = self._look()
        for waiter in [waiter for waiter, known in self._waiting.items() if known != now]:
            if self._waiting.pop(waiter, now) != now:
                waiter.callback(None)
        self._rest()
