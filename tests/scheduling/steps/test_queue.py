"""Everyone who waits for the engine."""

from twisted.trial.unittest import SynchronousTestCase

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
        self.queue = StepQueue()

    def come(self, *, ready: bool = True, adapter: int | None = None) -> Computation:
        """Have one come."""
        computation = _make(ready=ready, adapter=adapter)
        self.queue.add(computation)
        return computation

    def look(self) -> tuple[Computation | None, int, int]:
        """Tell who is next, how many wait, and how many of these could not run."""
        return self.queue.first(LIMITS), len(self.queue), self.queue.count_deferred(LIMITS)

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

    def test_fetching(self) -> None:
        """Whose tokens are fetched is passed over, and known when they are there."""
        first, second, third = self.come(), self.come(), self.come()
        self.queue.fetch(third)
        self.queue.fetch(second)
        self.queue.fetched(first)
        self.assertEqual(((first, 3, 2), []), (self.look(), self.queue.fetched_ones))
        self.queue.fetched(second)
        self.assertEqual(((first, 3, 1), [second]), (self.look(), self.queue.fetched_ones))
        self.queue.fetched(third)
        self.assertEqual(([third, second], [third, second]), (self.queue.fetching, self.queue.fetched_ones))
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
            self.queue.fetch(each)
            self.queue.fetched(each)
        self.assertEqual([1, 0, 2], [computations.index(each) for each in self.queue.fetched_ones])

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

    def test_use(self) -> None:
        """An adapter can be had that is in use, or may be."""
        running, other, same, none = self.come(adapter=1), self.come(adapter=2), self.come(adapter=1), self.come()
        self.queue.enter(running)
        self.assertEqual([False, True, True], [self.queue.has_adapter(each, LIMITS) for each in (other, same, none)])
        self.queue.leave(running)
        self.assertTrue(self.queue.has_adapter(other, LIMITS))

    def test_orders(self) -> None:
        """Who was preempted is next; all know which they are of those who came."""
        first, second = self.come(), self.come(ready=False)
        self.assertEqual((1, 2), (first.order, second.order))
        preempted = _make()
        self.queue.put_back(preempted)
        self.assertIs(preempted, self.look()[0])
        self.assertFalse(self.queue.discard(_make()))
