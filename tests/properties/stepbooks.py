"""The same of a rank that goes in steps, where nobody is promised blocks and some lose theirs."""

from typing import Any

from attrs import define

from tests.properties.books import Books
from vllmsim.kvcache.pool import BlockPool
from vllmsim.kvcache.steps.cache import StepCache
from vllmsim.scheduling.pacing import Place
from vllmsim.scheduling.sequence import Sequence
from vllmsim.scheduling.steps.course import StepCourse


@define(eq=False)
class StepBooks(Books):
    """The books of a rank with an engine."""

    @property
    def engine(self) -> Any:
        """The engine."""
        return self.rank.slots

    @property
    def step_cache(self) -> StepCache:
        """The blocks."""
        cache = self.rank.simulator._cache
        assert isinstance(cache, StepCache)
        return cache

    @property
    def pool(self) -> BlockPool:
        """The same."""
        return self.step_cache._pool

    @property
    def courses(self) -> list[StepCourse]:
        """Those of all sequences."""
        return [*self.engine._courses.values()]

    @property
    def adapters(self) -> Any:
        """Where adapters are."""
        return self.engine._adapters

    @property
    def kept(self) -> list[Place]:
        """A step goes on when nobody is in it any more."""
        place = self.engine._place
        return [*super().kept, *([] if place is None else [place])]

    @property
    def inside(self) -> list[Sequence]:
        """Those that run."""
        return [each.sequence for each in self.courses if each._inside]

    def awaits(self, adapter: int) -> bool:
        """Tell whether somebody waits for an adapter, by its number."""
        sequences = [each.sequence for each in self.courses if not each._inside]
        return any(each.adapter is not None and each.adapter.number == adapter for each in sequences)

    def check_slots(self) -> None:
        """The engine, the scheduler and the sequences have the same idea of who runs and who waits."""
        scheduler, courses, most = self.engine.scheduler, self.courses, self.live.current.max_num_seqs
        assert {each.sequence for each in courses} == {*self.sequences}
        running = [each.computation for each in courses if each._inside]
        assert len(running) == len(scheduler.running)
        assert {*running} == {*scheduler.running}
        assert scheduler.waiting == len(courses) - len(running)
        assert scheduler.deferred <= scheduler.waiting
        assert len(running) <= max(self._in_slots, self._most_slots), (len(running), self._in_slots, self._most_slots)
        self._in_slots, self._most_slots = len(running), most
        moves = self.engine._batch is not None
        assert moves == bool(scheduler._batch)
        assert moves <= (self.engine._place is not None)
        if self.engine._place is None:
            held = [each for each in scheduler.running if not each.held]
            assert not held, f"{len(held)} could go on, and the engine stands still"
            assert scheduler.waiting == scheduler.deferred or len(running) >= most, "somebody waits who may run"

    def check_cache(self) -> None:
        """Each sequence has the blocks of the tokens that are computed of it, and none when it waits."""
        cache, pool = self.step_cache, self.pool
        holders = [*cache._books.holders]
        self.check_blocks(pool, cache._pressure, [each._ids for each in holders])
        assert pool._promised == 0
        fetching = self.engine.scheduler._queue.fetching
        assert {*holders} == {each.blocks for each in [*self.engine.scheduler.running, *fetching]}
        size = cache._block_size
        for each in self.engine.scheduler.running:
            known = min(each.computed, each.tokens)
            assert len(each.blocks._ids) >= -(-known // size), (len(each.blocks._ids), known, size)
            # A step may compute guesses, which count until it is over.
            ahead = each.computed - each.tokens
            assert ahead <= max(0, each.pending - 1), (each.computed, each.tokens, each.pending)

    @property
    def hears(self) -> bool:
        """While a step runs nobody is told what happens."""
        return super().hears and not self.step_cache._events.gathering

    def check_events(self) -> None:
        """Batches of events are whole when a step is over."""
        if self.hears:
            super().check_events()

    def check_rest(self) -> None:
        """Nothing is left of anybody."""
        super().check_rest()
        assert not self.engine._courses
        assert not self.step_cache._books.holders
        assert self.pool.used == self.step_cache._pressure.held
