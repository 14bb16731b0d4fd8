"""Whose blocks are given to others first."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.inference import Adapter
from vllmsim.kvcache.eviction import EvictionOrder

AD1, AD2 = Adapter("ad1", "/1", "m", 1), Adapter("ad2", "/2", "m", 2)


class EvictionOrderTests(SynchronousTestCase):
    """Blocks of adapters that are gone come before all others; of each, the least recently used goes first."""

    def setUp(self) -> None:
        """Have nothing."""
        self.served = {AD1.path, AD2.path, "/elsewhere"}
        self.order = EvictionOrder(lambda adapter: adapter.path in self.served)

    def unload(self, adapter: Adapter) -> None:
        """Serve an adapter no more."""
        self.served.discard(adapter.path)
        self.order.forget(adapter)

    def pop_all(self) -> list[int]:
        """Take all blocks."""
        return self.order.pop(len(self.order))

    def test_least_recent(self) -> None:
        """The block that has been free longest goes first; one that was used in between begins anew."""
        self.order.add([3, 2, 1])
        self.order.add([5])
        self.order.discard([2])
        self.order.add([2])
        self.assertEqual([3, 1, 5, 2], self.pop_all())

    def test_unloaded(self) -> None:
        """When an adapter is unloaded, its blocks go first, the free ones and those that will be."""
        self.order.own([2, 4, 5], AD1)
        self.order.add([1, 2, 3, 4])
        self.unload(AD1)
        self.assertEqual([2], self.order.pop(1))
        self.order.add([5])
        self.assertEqual([4, 5, 1, 3], self.pop_all())

    def test_unloaded_in_turn(self) -> None:
        """Among blocks of several adapters that are gone the oldest goes first, whichever was unloaded first."""
        self.order.own([1, 4], AD1)
        self.order.own([2, 3], AD2)
        self.order.add([0, 1, 2, 3, 4])
        self.unload(AD2)
        self.unload(AD1)
        self.assertEqual([1, 2, 3, 4, 0], self.pop_all())

    def test_used_after_unloading(self) -> None:
        """A sequence of an adapter that is gone uses its blocks still; they are the youngest when it has ended."""
        self.order.own([1, 2, 3], AD1)
        self.order.own([4], AD2)
        self.order.add([1, 2, 3, 4])
        self.unload(AD1)
        self.unload(AD2)
        self.order.discard([1, 2, 3])
        self.order.add([3, 2, 1])
        self.assertEqual([4, 3, 2, 1], self.pop_all())

    def test_all_used(self) -> None:
        """An adapter that is gone and all of whose blocks are used has none to give."""
        self.order.own([1], AD1)
        self.order.add([1, 2, 3])
        self.unload(AD1)
        self.order.discard([1])
        self.assertEqual([2, 3], self.pop_all())

    def test_loaded_again(self) -> None:
        """When a sequence of the adapter stores blocks after it was loaded again, none of its blocks goes first."""
        self.order.own([2, 3], AD1)
        self.order.add([1, 2])
        self.unload(AD1)
        self.order.own([4], AD1)
        self.order.add([4, 5])
        self.assertEqual([2], self.order.pop(1))
        self.served.add(AD1.path)
        self.order.own([6], Adapter("ad1", "/1", "m", 3))
        self.order.add([3, 6])
        self.assertEqual([1, 4, 5, 3, 6], self.pop_all())

    def test_stored_late(self) -> None:
        """A sequence of an adapter that was unloaded before it stored anything stores what goes first."""
        self.unload(AD1)
        self.order.own([2], AD1)
        self.order.add([1, 2])
        self.assertEqual([2, 1], self.pop_all())

    def test_other_path(self) -> None:
        """An adapter of the same name from elsewhere is another one."""
        self.order.own([2], Adapter("ad1", "/elsewhere", "m", 1))
        self.order.own([3], AD1)
        self.order.add([1, 2, 3])
        self.unload(AD1)
        self.assertEqual([3, 1, 2], self.pop_all())

    def test_unloaded_twice(self) -> None:
        """An adapter may come and go, with blocks or without."""
        for block in (1, 2, 3):
            self.served.add(AD1.path)
            self.order.own([block], AD1)
            self.order.add([block, block + 10])
            self.unload(AD1)
            self.unload(AD2)
        self.assertEqual([1, 2, 3, 11, 12, 13], self.pop_all())

    def test_clear(self) -> None:
        """When all is forgotten it does not matter any more whose blocks were whose."""
        self.order.own([2, 9], AD1)
        self.order.add([1, 2, 3])
        self.unload(AD1)
        self.assertEqual([1, 2, 3], self.order.clear())
        self.assertEqual(0, len(self.order))
        self.order.add([4, 9, 2])
        self.assertEqual([4, 9, 2], self.pop_all())
