"""In what order those wait who could run."""

from collections.abc import Iterable

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.inference import Adapter, HashedPrompt
from vllmsim.scheduling.steps.computation import Computation
from vllmsim.scheduling.steps.lines import Lines


class LinesTests(SynchronousTestCase):
    """Who is first."""

    def setUp(self) -> None:
        """Count those who come."""
        self.count = 0

    def come(self, priority: int = 0, adapter: int | None = None) -> Computation:
        """Make one that comes next."""
        self.count += 1
        need = None if adapter is None else Adapter("a", "", "", adapter)
        computation = Computation(HashedPrompt(range(3)), [1], priority, adapter=need)
        computation.order = self.count
        return computation

    def drain(self, lines: Lines, adapters: Iterable[int] = (), *, more: bool = True) -> list[int]:
        """Take all that may run, and tell which they are of those who came."""
        orders = []
        while (first := lines.first(set(adapters), more)) is not None:
            orders.append(first.order)
            self.assertTrue(lines.discard(first))
        return orders

    def test_coming(self) -> None:
        """Who comes first is first, whatever the priorities, where these do not count."""
        lines = Lines()
        for priority in (2, 0, 1):
            lines.add(self.come(priority))
        self.assertEqual((3, [1, 2, 3]), (len(lines), self.drain(lines)))

    def test_put_back(self) -> None:
        """Those who were preempted come before all others, and of these the last."""
        lines = Lines()
        first, second, third = self.come(), self.come(), self.come()
        lines.add(third)
        lines.put_back(second)
        lines.put_back(first)
        self.assertEqual([1, 2, 3], self.drain(lines))

    def test_priority(self) -> None:
        """Where priorities count, the lowest is first, then who came first, preempted or not."""
        lines = Lines(by_priority=True)
        for priority in (1, 0, 1):
            lines.add(self.come(priority))
        lines.put_back(self.come(1))
        lines.put_back(self.come(0))
        self.assertEqual([2, 5, 1, 3, 4], self.drain(lines))

    def test_adapters(self) -> None:
        """Who needs an adapter that has no place is passed over, and counted, and keeps its place."""
        lines = Lines()
        for adapter in (1, 2, None, 1, 3):
            lines.add(self.come(adapter=adapter))
        self.assertEqual((5, 2), (len(lines), lines.count_barred({2, 3})))
        self.assertEqual([2, 3], self.drain(lines, {2}, more=False))
        self.assertEqual((3, [1, 4, 5]), (len(lines), self.drain(lines)))

    def test_gone(self) -> None:
        """Who is not there cannot be taken away."""
        lines = Lines()
        computation = self.come()
        self.assertFalse(lines.discard(computation))
        lines.add(computation)
        other = self.come()
        self.assertFalse(lines.discard(other))
        self.assertEqual([True, False, 0], [lines.discard(computation), lines.discard(computation), len(lines)])
