# -*- test-case-name: tests.scheduling.test_slots -*-
"""The sequences that run: up to `max-num-seqs` cooperative tasks, each serving one sequence at a time.

A task is started when a sequence first needs it, so that thousands of slots cost nothing until they are used. One that
finds no sequence that may run rests, and costs nothing either. There may be more tasks than slots when the number of
slots has become smaller: they rest.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import ClassVar

from attrs import define, field
from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Cooperator, SchedulerStopped
from twisted.logger import Logger
from twisted.python.failure import Failure

from vllmsim.clocks.simulated import work_clock
from vllmsim.inference import Adapter
from vllmsim.interfaces import IAdapterMetrics, IRankMetrics
from vllmsim.scheduling import passage
from vllmsim.scheduling.limits import RankLimits
from vllmsim.scheduling.sequence import Sequence
from vllmsim.scheduling.waiting import WaitingQueue
from vllmsim.turns import TURN


@define(eq=False)
class SequenceSlots:
    """Runs sequences, no more at once than there are slots; the others wait their turn.

    :param limits: tells how many slots there are.
    :param generate: runs one sequence; its Deferred fires with the number of tokens after the last one.
    """

    _log: ClassVar[Logger] = Logger()

    _clock: IReactorTime
    _waiting: WaitingQueue
    _limits: Callable[[], RankLimits]
    _generate: Callable[[Sequence], Deferred[int]]
    _metrics: IRankMetrics
    _adapters: IAdapterMetrics
    _cooperator: Cooperator = field(init=False)
    _tasks: int = field(init=False, default=0)
    _resting: deque[Deferred[Sequence | None]] = field(init=False, factory=deque)
    running: int = field(init=False, default=0)
    """How many sequences are in slots."""

    @_cooperator.default
    def _make_cooperator(self) -> Cooperator:
        return Cooperator(self._begin_step, lambda step: self._clock.callLater(0, step), started=False)

    def start(self) -> None:
        """Begin to serve."""
        self._cooperator.start()

    def stop(self) -> None:
        """Serve no more; sequences in slots must have been removed before."""
        self._cooperator.stop()

    def unload_adapters(self) -> None:
        """Have adapters that no sequence runs with be on disk alone."""
        self._waiting.adapters.clear()

    def require_room(self, count: int, adapter: Adapter | None = None) -> None:
        """Make sure that so many sequences may be added.

        :param adapter: what they use.
        :raises vllmsim.errors.QueueFull: when one of them would have to wait beyond the queue's bound.
        """
        self._waiting.require_room(count, adapter, self.running)

    def add(self, sequence: Sequence) -> None:
        """Run a sequence as soon as a slot is free, and its adapter there."""
        passage.wait(self._metrics, self._adapters, sequence, self._clock.seconds())
        if self._resting and self.running < self._limits().running and self._waiting.admit(sequence):
            self._resting.popleft().callback(sequence)
        else:
            self._waiting.put(sequence)
            self.fill()

    def remove(self, sequence: Sequence) -> None:
        """Stop a sequence, or have it wait no more. Harmless after its end."""
        if sequence.generation is not None:
            sequence.generation.cancel()
        else:
            self._discard(sequence)

    def abort(self, sequence: Sequence) -> None:
        """End a sequence with what it has said. Harmless after its end."""
        sequence.aborted = True
        if sequence.generation is not None:
            sequence.generation.cancel()
        elif self._discard(sequence):
            execute(sequence.end_early).chainDeferred(sequence.done)

    def fill(self) -> None:
        """Have sequences start that may; to be called when there are more slots, or when more adapters may run."""
        if self.running < self._limits().running and self._waiting.runnable():
            if self._resting:
                self._resting.popleft().callback(None)
            elif self._tasks < self._limits().running:
                self._tasks += 1
                self._cooperator.coiterate(self._serve_in_turn()).addErrback(self._end_task)

    def _discard(self, sequence: Sequence) -> bool:
        if not self._waiting.discard(sequence):
            return False
        passage.give_up(self._metrics, self._adapters, sequence, self._clock.seconds())
        if sequence.adapter is not None:
            # Others may have waited for its turn.
            self.fill()
        return True

    def _begin_step(self) -> Callable[[], bool]:
        """Begin a step of the tasks, and make what tells that it has been long enough."""
        work = work_clock(self._clock)
        end = work.seconds() + TURN
        return lambda: work.seconds() > end

    def _serve_in_turn(self) -> Iterator[Deferred[None]]:
        while True:
            sequence = None
            if self._waiting.count and self.running < self._limits().running:
                sequence = self._waiting.take()
            yield self._rest() if sequence is None else self._serve(sequence)

    def _rest(self) -> Deferred[None]:
        """Have a task do nothing until there is a sequence, or one should be looked for."""
        rest: Deferred[Sequence | None] = Deferred()
        self._resting.append(rest)
        return rest.addCallback(self._serve_if_any)

    def _serve_if_any(self, sequence: Sequence | None) -> Deferred[None] | None:
        return None if sequence is None else self._serve(sequence)

    def _serve(self, sequence: Sequence) -> Deferred[None]:
        self.running += 1
        if self._waiting.count:
            # What let this one start may let others start too.
            self.fill()
        generation = self._generate(sequence)
        sequence.generation = generation
        return generation.addBoth(self._leave, sequence)

    def _leave(self, result: int | Failure, sequence: Sequence) -> None:
        self.running -= 1
        self._waiting.release(sequence)
        sequence.generation = None
        if isinstance(result, Failure):
            sequence.done.errback(result)
        else:
            sequence.done.callback(result)

    def _end_task(self, reason: Failure) -> None:
        self._tasks -= 1
        if reason.check(SchedulerStopped) is None:
            self._log.failure("A slot broke; another takes its place.", reason)
            self.fill()
