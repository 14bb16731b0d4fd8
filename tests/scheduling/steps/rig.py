"""A scheduler with its cache, and nothing else: steps come when a test wants them."""

from collections.abc import Sequence
from typing import Any

from attrs import define, evolve, field
from twisted.internet.task import Clock

from tests.kvcache.fakes import ReadableHasher, RecordingCacheMetrics, RecordingListener
from vllmsim.inference import Adapter
from vllmsim.kvcache.pool import BlockPool
from vllmsim.kvcache.steps.cache import StepCache
from vllmsim.kvcache.steps.events import StepEvents
from vllmsim.scheduling.steps.batch import Batch
from vllmsim.scheduling.steps.computation import Computation
from vllmsim.scheduling.steps.guessing import Guessing
from vllmsim.scheduling.steps.limits import StepLimits
from vllmsim.scheduling.steps.scheduler import StepScheduler


@define(eq=False)
class Rig:
    """What is needed to schedule.

    :param usable: how many blocks there are.
    :param size: tokens per block.
    :param hashed: whether prefixes are cached.
    :param outside: whether there is a cache outside.
    :param drops: whether the last block that is found of a prefix is computed again.
    """

    usable: int = 20
    limits: StepLimits = field(factory=lambda: StepLimits(8, 64, 256))
    size: int = 4
    by_priority: bool = False
    hashed: bool = True
    outside: bool = False
    guessing: Guessing | None = None
    drops: bool = False
    clock: Clock = field(kw_only=True, factory=Clock)
    listener: RecordingListener = field(init=False, factory=RecordingListener)
    metrics: RecordingCacheMetrics = field(init=False, factory=RecordingCacheMetrics)
    told: list[int] = field(init=False, factory=list)
    """How many events there were each time that a step was told of."""
    hasher: ReadableHasher = field(init=False)
    pool: BlockPool = field(init=False)
    cache: StepCache = field(init=False)
    scheduler: StepScheduler = field(init=False)
    names: dict[Computation, str] = field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        events = StepEvents((self.listener,), lambda: self.told.append(len(self.listener.events)))
        self.hasher = ReadableHasher(self.size)
        self.pool = BlockPool(self.usable, self.metrics, (events,))
        self.cache = StepCache(
            self.clock,
            self.pool,
            self.size,
            self.hasher if self.hashed else None,
            self.metrics,
            events,
            self.outside,
            self.limits.length,
            drops=self.drops,
        )
        self.scheduler = StepScheduler(self.cache, lambda: self.limits, self.by_priority, self.guessing)

    def limit(self, **limits: Any) -> None:
        """Change some limits."""
        self.limits = evolve(self.limits, **limits)

    def make(
        self,
        name: str,
        prompt: Sequence[int],
        answer: Sequence[int] | None,
        adapter: Adapter | None = None,
        salt: str = "",
        shared: int = 0,
        **how: Any,
    ) -> Computation:
        """Make a sequence that has not come yet."""
        computation = Computation(self.hasher.prompt(prompt, adapter, salt, shared), answer, **how)
        self.names[computation] = name
        return computation

    def add(
        self, name: str, prompt: Sequence[int], answer: Sequence[int] | None = range(100), **how: Any
    ) -> Computation:
        """Have a sequence come."""
        computation = self.make(name, prompt, answer, **how)
        self.scheduler.add(computation)
        return computation

    def name(self, computations: Sequence[Computation]) -> list[str]:
        """Name some sequences."""
        return [self.names[each] for each in computations]

    def show(self, batch: Batch) -> dict[str, int]:
        """Tell how many tokens of whom are in a batch."""
        return {self.names[each]: tokens for each, tokens in batch.scheduled.items()}

    def step(self) -> dict[str, int]:
        """Make a whole step.

        :return: how many tokens of whom were in it.
        """
        batch = self.scheduler.schedule()
        if batch.scheduled:
            self.scheduler.complete(batch)
        return self.show(batch)
