# -*- test-case-name: tests.scheduling.test_slots -*-
"""The sequences that run: up to `max-num-seqs` cooperative tasks, each serving one sequence at a time.

A task is started when a sequence first needs it, so that thousands of slots cost nothing until they are used.
"""

from collections.abc import Callable, Iterator
from typing import ClassVar

from attrs import define, field
from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Cooperator, SchedulerStopped
from twisted.logger import Logger
from twisted.python.failure import Failure

from vllmsim.interfaces import IRankMetrics
from vllmsim.scheduling.sequence import Sequence
from vllmsim.scheduling.waiting import WaitingQueue
from vllmsim.turns import TURN


@define(eq=False)
class SequenceSlots:
    """Runs sequences, no more at once than there are slots; the others wait their turn.

    :param count: how many slots there are.
    :param generate: runs one sequence; its Deferred fires with the number of tokens after the last one.
    """

    _log: ClassVar[Logger] = Logger()

    _clock: IReactorTime
    _waiting: WaitingQueue
    _count: int
    _generate: Callable[[Sequence], Deferred[int]]
    _metrics: IRankMetrics
    _cooperator: Cooperator = field(init=False)
    _tasks: int = field(init=False, default=0)
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

    def require_room(self, count: int) -> None:
        """Make sure that so many sequences may be added.

        :raises vllmsim.errors.QueueFull: when one of them would have to wait beyond the queue's bound.
        """
        self._waiting.require_room(count, self._count - self.running)

    def add(self, sequence: Sequence) -> None:
        """Run a sequence as soon as a slot is free."""
        self._metrics.sequence_queued()
        sequence.submission.record.sequence_queued(self._clock.seconds())
        self._waiting.put(sequence)
        self._start_task()

    def remove(self, sequence: Sequence) -> None:
        """Stop a sequence, or have it wait no more. Harmless after its end."""
        if sequence.generation is not None:
            sequence.generation.cancel()
        elif self._waiting.discard(sequence):
            self._unqueue(sequence)

    def abort(self, sequence: Sequence) -> None:
        """End a sequence with what it has said. Harmless after its end."""
        sequence.aborted = True
        if sequence.generation is not None:
            sequence.generation.cancel()
        elif self._waiting.discard(sequence):
            self._unqueue(sequence)
            execute(sequence.end_early).chainDeferred(sequence.done)

    def _unqueue(self, sequence: Sequence) -> None:
        self._metrics.sequence_unqueued()
        sequence.submission.record.sequence_unqueued()

    def _begin_step(self) -> Callable[[], bool]:
        """Begin a step of the tasks, and make what tells that it has been long enough."""
        end = self._clock.seconds() + TURN
        return lambda: self._clock.seconds() > end

    def _start_task(self) -> None:
        if len(self._waiting) and self._tasks < self._count:
            self._tasks += 1
            self._cooperator.coiterate(self._serve_in_turn()).addErrback(self._end_task)

    def _serve_in_turn(self) -> Iterator[Deferred[None]]:
        while True:
            yield self._waiting.take().addCallback(self._serve)

    def _serve(self, sequence: Sequence) -> Deferred[None]:
        self.running += 1
        generation = self._generate(sequence)
        sequence.generation = generation
        return generation.addBoth(self._leave, sequence)

    def _leave(self, result: int | Failure, sequence: Sequence) -> None:
        self.running -= 1
        sequence.generation = None
        if isinstance(result, Failure):
            sequence.done.errback(result)
        else:
            sequence.done.callback(result)

    def _end_task(self, reason: Failure) -> None:
        self._tasks -= 1
        if reason.check(SchedulerStopped) is None:
            self._log.failure("A slot broke; another takes its place.", reason)
            self._start_task()
