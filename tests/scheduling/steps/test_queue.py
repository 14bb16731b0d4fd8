"""Everyone who waits for the engine."""

from twisted.trial.unittest import SynchronousTestCase

from tests.scheduling.steps.rig import Rig
from vllmsim.inference import Adapter, HashedPrompt
from vllmsim.scheduling.steps.computation import Computation
from vllmsim.scheduling.steps.limits import StepLimits
from vllmsim.scheduling.steps.queue import StepQueue

LIMITS = StepLimits(8, 64, 256, adapters=1)


def _make(*, ready: bool = True, adapter: int | None = None, priority: int = 0) -> Computation:
    need = None if adapter is None else Adapter("a", "", "", adapter)
    return Computation(HashedPrompt(range(3)), [1] if ready else None, priority, adapter=need)


class StepQueueTests(SynchronousTestCase):
    """Who is next, and who is not though nobody comes before it."""

    def setUp(self) -> None:
        """Have a queue."""
        self.queue, self.rig = StepQueue(), Rig()

    def come(self, *, ready: bool = True, adapter: int | None = None) -> Computation:
        """Have one come."""
        computation = _make(ready=ready, adapter=adapter)
        self.queue.add(computation)
        return computation

    def look(self, *, admitting: bool = True) -> tuple[Computation | None, int, int]:
        """Tell who is next, how many wait, and how many of these could not run."""
        return self.queue.first(LIMITS, admitting), len(self.queue), self.queue.count_deferred(LIMITS)

    def test_unready(self) -> None:
        """Whose answer is not known is passed over, and stands where it came when it is."""
        first, second = self.come(ready=False), self.come()
        self.assertEqual((second, 2, 1), self.look())
        self.queue.ready(first)
        self.queue.ready(first)
        self.assertEqual((first, 2, 0), self.look())
        self.assertTrue(self.queue.discard(first))
        self.queue.ready(first)
        self.assertEqual((second, 1, 0), self.look())

    def fetch(self, computation: Computation) -> None:
        """Have tokens of one be fetched, for which it has blocks."""
        computation.blocks = self.rig.cache.open(computation.prompt, [1], reads=True, remote_tokens=2)
        self.assertEqual((0, 2), computation.blocks.find(3))
        self.assertTrue(computation.blocks.enter(3, 2, 0, 0))
        computation.computed = 2
        self.queue.fetch(computation)

    def test_fetching(self) -> None:
        """Whose tokens are fetched is passed over, and first when they are there, even if nobody else may come."""
        first, second, third = self.come(), self.come(), self.come()
        self.fetch(third)
        self.fetch(second)
        self.queue.fetched(first)
        self.assertEqual((first, 3, 2), self.look())
        self.assertEqual((None, 3, 2), self.look(admitting=False))
        self.queue.fetched(second)
        self.assertEqual((second, 3, 1), self.look(admitting=False))
        self.queue.fetched(third)
        self.assertEqual((third, 3, 0), self.look())
        self.assertEqual([third, second], self.queue.fetching)
        self.assertEqual([True, False], [*map(self.queue.is_fetched, (third, first))])
        self.queue.enter(third)
        self.assertTrue(self.queue.discard(second))
        self.queue.fetched(second)
        self.assertEqual((first, 1, 0), self.look())

    def test_fetching_by_priority(self) -> None:
        """Where priorities count, those whose tokens are there stand as others do."""
        self.queue = StepQueue(by_priority=True)
        computations = [_make(priority=priority) for priority in (2, 1, 2)]
        for each in computations:
            self.queue.add(each)
            self.fetch(each)
            self.queue.fetched(each)
        found = []
        while (first := self.look()[0]) is not None:
            found.append(computations.index(first))
            self.queue.enter(first)
        self.assertEqual([1, 0, 2], found)

    def test_adapters(self) -> None:
        """Who needs one adapter too many is passed over until nobody runs with another."""
        running, other, same = self.come(adapter=1), self.come(adapter=2), self.come(adapter=1)
        self.queue.enter(running)
        self.assertEqual((same, 2, 1), self.look())
        self.queue.enter(same)
        self.assertEqual((None, 1, 1), self.look())
        self.queue.leave(running)
        self.assertEqual((None, 1, 1), self.look())
        self.queue.leave(same)
        self.assertEqual((other, 1, 0), self.look())

    def test_fetched_adapters(self) -> None:
        """The same holds for those whose tokens were fetched."""
        running, other = self.come(adapter=1), self.come(adapter=2)
        self.queue.enter(running)
        self.fetch(other)
        self.queue.fetched(other)
        self.assertIsNone(self.look()[0])
        self.queue.leave(running)
        self.assertIs(other, self.look()[0])

    def test_orders(self) -> None:
        """Who was preempted is next; all know which they are of those who came."""
        first, second = self.come(), self.come(ready=False)
        self.assertEqual((1, 2), (first.order, second.order))
        preempted = _make()
        self.queue.put_back(preempted)
        self.assertIs(preempted, self.look()[0])
        self.assertFalse(self.queue.discard(_make()))
