# -*- test-case-name: tests.test_threads -*-
"""Threads for what would hold up the reactor, some of which may never come back: a read of a file system that hangs.

A function that runs for long has another thread take its place, so that others go on. When no thread has begun any for
some time, those that wait fail, and whoever asked for them is told. And nothing waits at the end of the process for
what does not end.
"""

import math
import time
from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import Any, ClassVar, Final

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from vllmsim.errors import Unavailable

LONG: Final = 10.0
"""Seconds after which a function that runs has another thread take its place."""
PATIENCE: Final = 30.0
"""Seconds within which a thread must begin a function, be it one that others wait for."""
MORE: Final = 50
"""Most threads that take the places of others."""
_INTERVAL: Final = 1.0
"""Seconds between two looks at who runs and waits."""
LAST: Final = 2.0
"""Seconds that functions have to end when the process does, all together."""


class PoolThread(Thread):
    """A thread of the reactor's pool that the end of the process does not wait for."""

    _end: ClassVar[float | None] = None

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, daemon=True, **more)

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end, as long as there is time for that."""
        if timeout is None:
            if PoolThread._end is None:
                PoolThread._end = time.monotonic() + LAST
            timeout = max(0.0, PoolThread._end - time.monotonic())
        super().join(timeout)


@define(eq=False)
class _Job:
    """One function that is to be called.

    :param asked: when, in seconds of the clock.
    :param begun: when a thread began it; None before.
    :param done: whether it has come back.
    :param replaced: whether another thread has taken the place of its own.
    :param late: whether it was given up before it began.
    """

    function: Callable[[], Any]
    clock: IReactorTime
    asked: float
    begun: float | None = None
    done: bool = False
    replaced: bool = False
    late: bool = False
    answer: "Deferred[Any] | None" = None

    def run(self, threads: "Threads") -> Any:
        """Call it, in a thread, unless nobody waits for it any more."""
        if self.answer is not None and self.answer.called:
            return None
        self.begun = threads.begun = self.clock.seconds()
        try:
            return self.function()
        finally:
            self.done = True


@define(eq=False)
class Threads:
    """Calls functions in the reactor's threads.

    :param reactor: provides time and threads.
    """

    _log: ClassVar[Logger] = Logger()

    _reactor: Any
    _jobs: dict[_Job, None] = field(init=False, factory=dict)
    _look: IDelayedCall | None = field(init=False, default=None)
    _more: int = field(init=False, default=0)
    begun: float = field(init=False, default=-math.inf)
    """When a thread began the latest function."""

    def defer(self, function: Callable[..., Any], *arguments: Any, **more: Any) -> "Deferred[Any]":
        """Call a function in a thread.

        :return: fires with what it returns; fails with what it raises, and with :class:`vllmsim.errors.Unavailable`
            when threads have begun nothing for too long. Cancelled, it is not called any more if it has not begun.
        """
        reactor = self._reactor
        job = _Job(partial(function, *arguments, **more), reactor, reactor.seconds())
        self._jobs[job] = None
        if self._look is None:
            self._look = reactor.callLater(_INTERVAL, self._look_after)
        job.answer = deferToThreadPool(reactor, reactor.getThreadPool(), job.run, self)
        return job.answer.addBoth(self._answered, job)

    def _answered(self, result: Any, job: _Job) -> Any:
        if job.done or job.begun is None:
            self._forget(job)
        if job.late and isinstance(result, Failure) and result.check(CancelledError):
            return Failure(Unavailable("All threads of the server are held up. Please try again."))
        return result

    def _forget(self, job: _Job) -> None:
        """Part with a function that has come back, or will not be called."""
        if self._jobs.pop(job, job) is None and job.replaced:
            self._resize(self._more - 1)
            if not self._more:
                self._log.warn("All functions have come back from their threads.")
        if not self._jobs and self._look is not None:
            self._look.cancel()
            self._look = None

    def _look_after(self) -> None:
        """See who has waited or run for too long."""
        self._look = self._reactor.callLater(_INTERVAL, self._look_after)
        now = self._reactor.seconds()
        for job in list(self._jobs):
            if job.done:
                self._forget(job)
            elif job.begun is None and now - max(job.asked, self.begun) > PATIENCE:
                job.late = True
                assert job.answer is not None
                job.answer.cancel()
            elif job.begun is not None and not job.replaced and now - job.begun > LONG and self._more < MORE:
                job.replaced = True
                self._resize(self._more + 1)
                if self._more == 1:
                    self._log.warn(
                        "A function has been in its thread for more than {seconds} s: {name}. Another thread takes its"
                        " place; up to {most} may be held up so before requests are told.",
                        seconds=LONG, name=_name(job.function), most=MORE,
                    )  # fmt: skip

    def _resize(self, more: int) -> None:
        change, self._more = more - self._more, more
        pool = self._reactor.getThreadPool()
        pool.adjustPoolsize(maxthreads=pool.max + change)
        if change > 0:
            # What waits is not begun by more threads being allowed.
            pool.startAWorker()


def _name(function: Any) -> str:
    """Name a function for the log."""
    while isinstance(function, partial):
        function = function.func
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__qualname__)}"
