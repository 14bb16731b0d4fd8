# -*- test-case-name: tests.scheduling.steps.test_scheduler -*-
"""Which tokens the engine computes in its next step: vLLM's scheduler.

A sequence has tokens that are computed and others that are not, those of its prompt at first and later the one that was
generated last. A step first goes on with the sequences that run, in their order, and then lets in those that wait, as
far as tokens and blocks reach. When there are no blocks for one that runs, the last one that runs loses its blocks: it
is preempted, goes back to the queue, and computes everything anew that is not cached by then.

There is no time here and no randomness: equal calls give equal batches.
"""

from collections.abc import Callable, Sequence

from attrs import define, field

from vllmsim.interfaces import IStepCache
from vllmsim.scheduling.steps.batch import Admission, Batch
from vllmsim.scheduling.steps.computation import Computation
from vllmsim.scheduling.steps.filling import Filling
from vllmsim.scheduling.steps.guessing import Guessing
from vllmsim.scheduling.steps.limits import StepLimits
from vllmsim.scheduling.steps.queue import StepQueue


@define(eq=False)
class StepScheduler:
    """Decides what is computed next, and has the blocks for it taken.

    :param limits: tells how much is done in one step.
    :param by_priority: whether priorities count.
    :param guessing: guesses tokens ahead; None for nobody.
    """

    _cache: IStepCache
    _limits: Callable[[], StepLimits]
    _by_priority: bool = False
    _guessing: Guessing | None = None
    running: list[Computation] = field(init=False, factory=list)
    """Those that were let in, in the order in which they are served."""
    robbed: Callable[[Computation], object] | None = field(init=False, default=None)
    """Hears of those that lose their blocks."""
    refuses: Callable[[Computation, int, int], bool] | None = field(init=False, default=None)
    """Tells whether one is not to be let in at all, of which so many tokens are cached here and so many elsewhere."""
    admitting: bool = field(init=False, default=True)
    """Whether any that wait may be let in."""
    _queue: StepQueue = field(init=False)
    _lost: list[Computation] = field(init=False, factory=list)
    """Those that were preempted since the last batch."""
    _batch: Batch | None = field(init=False, default=None)
    """The step that runs."""
    _sequences: int = field(init=False, default=0)
    """How many sequences it has, or the last one had."""

    def __attrs_post_init__(self) -> None:
        self._cache.preempting(self.preempt_all)

    @_queue.default
    def _make_queue(self) -> StepQueue:
        return StepQueue(self._by_priority)

    @property
    def waiting(self) -> int:
        """How many wait, or have their tokens fetched."""
        return len(self._queue)

    @property
    def deferred(self) -> int:
        """How many of those that wait could not be let in if there were room."""
        return self._queue.count_deferred(self._limits())

    def add(self, computation: Computation) -> None:
        """Have a sequence computed. As long as its answer is not known it keeps its place, and is passed over."""
        self._queue.add(computation)

    def ready(self, computation: Computation) -> None:
        """Learn that the answer of one that was added is known now. Harmless when it was discarded."""
        self._queue.ready(computation)

    def fetched(self, computation: Computation) -> None:
        """Learn that the tokens of one are there that had to be fetched. Harmless when it was discarded."""
        self._queue.fetched(computation)

    def release(self, computation: Computation) -> int:
        """Have one that was held go on.

        :return: how many new tokens it has at once; none if a step has still to compute the next.
        """
        computation.halt = None
        if computation.pending or computation.computed < computation.tokens:
            return 0
        new = self._advance(computation, 0)
        if computation.finished:
            self.discard(computation)
        return new

    def discard(self, computation: Computation) -> bool:
        """Compute no more of a sequence, and take its blocks back.

        :return: whether there was anything to compute; harmless if not.
        """
        if computation in self.running:
            self.running.remove(computation)
            self._queue.leave(computation)
        elif not self._queue.discard(computation):
            return False
        computation.lose()
        if self._batch is None:
            self._cache.end()
        return True

    def schedule(self) -> Batch:
        """Begin the next step. The one before must be completed.

        :return: what it computes. If that is nothing, there is no step, and nothing to complete.
        """
        assert self._batch is None
        limits = self._limits()
        self._cache.begin()
        filling = Filling(limits, len(self.running) + self.waiting)
        preempted = self._go_on(filling)
        if not preempted:
            self._let_in(filling)
        lost, self._lost = self._lost, []
        batch = filling.finish(lost)
        if batch.scheduled:
            self._batch, self._sequences = batch, len(batch.scheduled)
            self._cache.scheduled()
        else:
            self._cache.end()
        return batch

    def complete(self, batch: Batch) -> Sequence[tuple[Computation, int]]:
        """End the step: give every sequence the tokens that it has come to, and take the blocks of those that are done.

        :return: those that have new tokens, in the order of the batch, and how many each; none for one that is held.
        """
        assert batch is self._batch
        self._batch = None
        given: list[tuple[Computation, int]] = []
        done = False
        for computation in batch.scheduled:
            # Who has nothing pending was discarded meanwhile, or preempted.
            if not computation.pending:
                continue
            computation.pending = 0
            if computation.computed >= computation.tokens and computation.held:
                computation.computed, computation.drafts = computation.tokens, 0
                given.append((computation, 0))
            elif computation.computed >= computation.tokens:
                new = self._advance(computation, batch.drafts.get(computation, 0))
                given.append((computation, new))
                if computation.finished:
                    done = True
                    self._queue.leave(computation)
                    computation.lose()
        if done:
            self.running = [each for each in self.running if not each.finished]
        self._cache.end()
        return given

    def preempt_all(self) -> None:
        """Take all blocks back. Who was in a step computes it anew; the next batch names all of them as preempted."""
        while self.running:
            self._preempt(self.running.pop())

    def _go_on(self, filling: Filling) -> bool:
        """Schedule those that run, in their order, as far as blocks reach.

        :return: whether anybody was preempted.
        """
        running, index, preempted = self.running, 0, False
        limits, most = filling.limits, filling.most
        while index < len(running) and (left := filling.left):
            computation = running[index]
            computed, tokens = computation.computed, computation.tokens
            wanted = tokens + computation.drafts - computed
            if 0 < most < wanted:
                wanted = most
            # A guess may not go beyond the longest sequence.
            wanted = min(wanted, left, limits.length - computed - 1)
            if wanted <= 0:
                # It is held: all that there is of it is computed.
                index += 1
                continue
            reached = computed + wanted
            assert computation.blocks is not None
            grow = computation.blocks.grow
            while not grow(min(reached + limits.lookahead, limits.length), min(reached, tokens)):
                preempted = True
                place = self._find_victim()
                victim = running.pop(place)
                filling.give_back(victim)
                self._preempt(victim)
                if victim is computation:
                    break
                if place < index:
                    index -= 1
            else:
                if computation.partial:
                    filling.prompts_go_on = True
                filling.take(computation, wanted)
                index += 1
        filling.goes_on = bool(filling.scheduled)
        return preempted

    def _let_in(self, filling: Filling) -> None:
        """Let in those that wait, in their order, as far as tokens, blocks and adapters reach."""
        while filling.left and len(self.running) < filling.limits.running:
            computation = self._queue.first(filling.limits, self.admitting)
            if computation is None or not self._admit(computation, filling):
                break

    def _admit(self, computation: Computation, filling: Filling) -> bool:
        """Let one in that waits, if tokens and blocks are enough for it; else nobody comes before it.

        :return: whether it was let in, or its tokens are fetched now.
        """
        limits = filling.limits
        blocks = computation.blocks
        if blocks is None:
            assert computation.answer is not None
            blocks = self._cache.open(
                computation.prompt, computation.answer, computation.reads, computation.remote_tokens
            )
            computation.blocks = blocks
        whole = computation.tokens if limits.whole else 0
        spare = limits.spare if self.running else 0
        if self._queue.is_fetched(computation):
            start = computation.computed
            cached = blocks.prefill.cached
            external = start - cached
        else:
            cached, external = blocks.find(computation.tokens)
            start = cached + external
            if self.refuses is not None and not computation.preemptions and self.refuses(computation, cached, external):
                self._queue.discard(computation)
                filling.refused.append(Admission(computation, cached, external))
                return True
            if external:
                # It has its blocks all the while, so they must not be those that others need to come to an end.
                if not blocks.enter(whole, start, cached, spare, self._count_missing()):
                    return False
                self._queue.fetch(computation)
                computation.computed = start
                filling.fetching.append(Admission(computation, cached, external, computation.preemptions > 0))
                return True
        wanted = filling.choose(computation, start)
        if not wanted:
            return False
        reached = start + wanted
        slots = min(reached + limits.lookahead, limits.length)
        if not blocks.enter(whole, slots, min(reached, computation.tokens), spare):
            return False
        self._queue.enter(computation)
        computation.computed = start
        self.running.append(computation)
        filling.take(computation, wanted)
        filling.admitted.append(Admission(computation, cached, external, computation.preemptions > 0))
        return True

    def _count_missing(self) -> int:
        """Count the blocks that sequences will need to come to the end of what they have."""
        begun = [*self.running, *self._queue.fetching]
        return sum([each.blocks.missing(each.tokens) for each in begun if each.blocks is not None])

    def _find_victim(self) -> int:
        """Find the place of the one that loses its blocks."""
        if not self._by_priority:
            return len(self.running) - 1
        ranks = [(each.priority, each.order) for each in self.running]
        return ranks.index(max(ranks))

    def _preempt(self, computation: Computation) -> None:
        """Take the blocks of one that has just left those that run."""
        self._queue.leave(computation)
        computation.lose()
        computation.preemptions += 1
        self._lost.append(computation)
        self._queue.put_back(computation)
        if self.robbed is not None:
            self.robbed(computation)

    def _advance(self, computation: Computation, guesses: int) -> int:
        """Give a sequence what a step has come to.

        :param guesses: how many tokens the step has computed behind the last.
        :return: how many tokens it has more.
        """
        guessing, answer = self._guessing, computation.answer
        assert answer is not None
        new = 1
        if guesses and guessing is not None:
            end = len(answer) if computation.halt is None else min(len(answer), computation.halt)
            new = min(1 + guessing.accept(computation, guesses), end - computation.generated)
        computation.tokens += new
        if guesses:
            # All but the last of them are computed, as ever, and can be found by others now.
            computation.computed = computation.tokens - 1
            assert computation.blocks is not None
            computation.blocks.grow(computation.computed, computation.computed)
        if guessing is not None and not computation.finished:
            computation.drafts = guessing.guess(computation, self._sequences)
        return new
