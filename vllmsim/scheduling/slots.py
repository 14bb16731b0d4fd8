# -*- test-case-name: tests.scheduling.test_slots -*-
"""The sequences that run: up to `max-num-seqs` cooperative tasks, each serving one sequence at a time.

A task is started when a sequence first needs it, so that thousands of slots cost nothing until they are used.
"""

from collections.abc import Callable, Iterator

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Cooperator
from twisted.python.failure import Failure

from vllmsim.scheduling.sequence import Sequence
from vllmsim.scheduling.waiting import WaitingQueue


@define(eq=False)
class SequenceSlots:
    """Takes sequences from the queue and runs them, no more than there are slots.

    :param generate: runs one sequence; its Deferred fires with the number of tokens after the last one.
    """

    _clock: IReactorTime
    _waiting: WaitingQueue
    _count: int
    _generate: Callable[[Sequence], Deferred[int]]
    _cooperator: Cooperator = field(init=False)
    _tasks: int = field(init=False, default=0)
    _fresh: int = field(init=False, default=0)
    running: int = field(init=False, default=0)
    """How many sequences are in slots."""

    @_cooperator.default
    def _make_cooperator(self) -> Cooperator:
        return Cooperator(scheduler=lambda step: self._clock.callLater(0, step), started=False)

    @property
    def free(self) -> int:
        """How many slots have no sequence."""
        return self._count - self.running

    def start(self) -> None:
        """Begin to serve."""
        self._cooperator.start()

    def stop(self) -> None:
        """Serve no more; sequences in slots must have been cancelled before."""
        self._cooperator.stop()

    def fill(self) -> None:
        """Have one more slot take from the queue, if there is one that has not begun to."""
        if self._tasks < self._count and len(self._waiting) > self._fresh:
            self._tasks += 1
            self._fresh += 1
            # The task ends when the cooperator stops, with a failure that says just that.
            self._cooperator.coiterate(self._serve_in_turn()).addErrback(lambda _: None)

    def _serve_in_turn(self) -> Iterator[Deferred[None]]:
        self._fresh -= 1
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
