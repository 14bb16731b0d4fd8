"""Where adapters are: on disk, in memory, in a slot."""

from collections import OrderedDict
from typing import Any

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.fakes import RecordingMetrics, adapter_of
from vllmsim.adapters import AdapterSlots
from vllmsim.config.live import LiveConfiguration
from vllmsim.config.schema import Configuration
from vllmsim.inference import Adapter
from vllmsim.interfaces import IAdapterSlots

A1, A2, A3, A4 = map(adapter_of, ("a1", "a2", "a3", "a4"))


class AdapterSlotsTests(SynchronousTestCase):
    """A bounded number of slots, and a larger bounded memory."""

    def setUp(self) -> None:
        """Have two slots, memory for three, and a disk that takes five seconds."""
        self.clock = Clock()
        self.live = LiveConfiguration(Configuration(max_loras=2, max_cpu_loras=3, lora_load_time=5.0))
        self.metrics = RecordingMetrics()
        self.served = {each.name: each for each in (A1, A2, A3, A4)}
        self.slots = AdapterSlots(self.live, self.clock.seconds, self.served.get, self.metrics)
        self.gone: list[Adapter] = []
        self.slots.watch(self.gone.append)

    def change(self, **options: Any) -> None:
        """Change the configuration."""
        self.live.swap(evolve(self.live.current, **options))

    def counts(self) -> tuple[int, int]:
        """Tell how many adapters are in slots, and in memory, as the metrics were told last."""
        [*_, (_, gpu, memory)] = [each for each in self.metrics.heard if each[0] == "slots"]
        return gpu, memory

    def test_provides(self) -> None:
        """It is what scheduling asks for."""
        verifyObject(IAdapterSlots, self.slots)

    def test_loading(self) -> None:
        """The first who uses an adapter waits for the disk, who comes meanwhile for the rest, others not at all."""
        self.assertEqual(5.0, self.slots.occupy(A1))
        self.clock.advance(2)
        self.assertEqual(5.0, self.slots.occupy(A1))
        self.slots.release(A1)
        self.slots.release(A1)
        self.clock.advance(7)
        self.assertEqual(5.0, self.slots.occupy(A1))
        self.assertEqual([("loaded", 5.0)], [each for each in self.metrics.heard if each[0] == "loaded"])

    def test_clear(self) -> None:
        """All that are not in use can be put back on disk, as if the server had just been started."""
        for adapter in (A1, A2):
            self.slots.occupy(adapter)
        self.slots.load(A3)
        self.slots.release(A1)
        self.clock.advance(9)
        self.slots.clear()
        self.assertEqual(((1, 1), [A1]), (self.counts(), self.gone))
        self.assertEqual([False, True], [self.slots.holds(each) for each in (A1, A2)])
        self.assertEqual([14.0, 5.0], [self.slots.occupy(each) for each in (A1, A2)])

    def test_slots(self) -> None:
        """One in use keeps its slot; of others the least recently used gives way, and stays in memory."""
        for each in (A1, A2):
            self.slots.occupy(each)
        self.assertEqual((True, True, False), (self.slots.holds(A1), self.slots.holds(A2), self.slots.loadable()))
        self.slots.release(A2)
        self.slots.release(A1)
        self.assertTrue(self.slots.loadable())
        self.clock.advance(9)
        self.slots.occupy(A3)
        self.assertEqual(([A2], (2, 3)), (self.gone, self.counts()))
        self.assertEqual((True, False), (self.slots.holds(A1), self.slots.holds(A2)))
        self.assertEqual(5.0, self.slots.occupy(A2))
        self.assertEqual([A2, A1], self.gone)

    def test_memory(self) -> None:
        """What is too much for the memory is read from disk again, the least recently used first."""
        for each in (A1, A2, A3, A4):
            self.slots.occupy(each)
            self.slots.release(each)
        self.clock.advance(100)
        self.assertEqual((2, 3), self.counts())
        self.assertEqual([5.0, 105.0], [self.slots.occupy(each) for each in (A2, A1)])
        evictions = [each[1] for each in self.metrics.heard if each[0] == "evicted"]
        self.assertEqual((4, 2), (evictions.count("gpu"), evictions.count("memory")))

    def test_memory_as_large_as_the_slots(self) -> None:
        """Without a size of its own, or with 0, the memory is as large as the slots."""
        for size in (None, 0):
            self.change(max_cpu_loras=size)
            for each in (A1, A2, A3):
                self.slots.occupy(each)
                self.slots.release(each)
            self.assertEqual((2, 2), self.counts())

    def test_loaded_by_hand(self) -> None:
        """An adapter that is loaded is in memory, from where it comes to a slot without delay once it is there."""
        self.assertEqual(5.0, self.slots.load(A1))
        self.assertEqual(((0, 1), False), (self.counts(), self.slots.holds(A1)))
        self.clock.advance(6)
        self.assertEqual(5.0, self.slots.occupy(A1))
        self.assertEqual(5.0, self.slots.load(A1))
        self.assertEqual(11.0, self.slots.occupy(A1))

    def test_loaded_without_room(self) -> None:
        """What is in use stays in memory, and what is loaded beside it does not if there is no room."""
        self.change(max_cpu_loras=2)
        self.slots.occupy(A1), self.slots.occupy(A2)
        self.slots.load(A3)
        self.assertEqual((2, 2), self.counts())
        self.slots.load(A4)
        self.slots.release(A1)
        self.slots.load(A3)
        self.assertEqual((([A1]), (1, 2)), (self.gone, self.counts()))

    def test_live(self) -> None:
        """More slots are there at once; of fewer, those in use go on, and the others give way."""
        self.slots.occupy(A1), self.slots.occupy(A2)
        self.change(max_loras=3)
        self.assertTrue(self.slots.loadable())
        self.slots.occupy(A3)
        self.change(max_loras=1, max_cpu_loras=1)
        self.assertEqual((3, 3), self.counts())
        self.slots.release(A1)
        self.assertEqual(([A1], (2, 2)), (self.gone, self.counts()))
        self.slots.release(A2)
        self.slots.release(A3)
        self.assertEqual(([A1, A2], (1, 1)), (self.gone, self.counts()))
        self.change(lora_load_time=1.0)
        self.assertEqual((1, 1), self.counts())
        self.assertEqual(1.0, self.slots.occupy(A1))

    def test_unloaded(self) -> None:
        """One that is unloaded is gone when nobody runs with it or waits; one of its name is another."""
        self.slots.occupy(A1)
        del self.served["a1"]
        self.slots.settle(A1)
        self.assertEqual((1, 1), self.counts())
        self.slots.release(A1)
        self.assertTrue(self.slots.holds(A1))
        self.served["a1"] = again = evolve(A1, number=9)
        self.assertFalse(self.slots.holds(again))
        self.slots.settle(A1)
        self.assertEqual((False, [A1], (0, 0)), (self.slots.holds(A1), self.gone, self.counts()))
        self.slots.occupy(again)
        self.slots.release(again)
        self.slots.settle(again)
        self.assertTrue(self.slots.holds(again))

    @settings(deadline=None)
    @given(st.lists(st.tuples(st.sampled_from("olrrx"), st.integers(1, 6), st.integers(1, 3)), max_size=80))
    def test_at_random(self, steps: list[tuple[str, int, int]]) -> None:
        """Whatever happens, no more adapters are in slots and in memory than may, and who is in use stays."""
        self.setUp()
        users: OrderedDict[int, int] = OrderedDict()
        memory: OrderedDict[int, None] = OrderedDict()
        for what, number, size in steps:
            adapter = adapter_of(f"a{number}")
            if what == "o" and (self.slots.holds(adapter) or self.slots.loadable()):
                there = number in memory
                before = sum(each[0] == "loaded" for each in self.metrics.heard)
                self.slots.occupy(adapter)
                self.assertEqual(before + (not there), sum(each[0] == "loaded" for each in self.metrics.heard))
                users[number] = users.get(number, 0) + 1
                memory[number] = None
                memory.move_to_end(number)
            elif what == "r" and users.get(number):
                self.slots.release(adapter)
                users[number] -= 1
                memory.move_to_end(number)
            elif what == "l":
                self.slots.load(adapter)
                memory[number] = None
                memory.move_to_end(number)
            elif what == "x":
                self.change(max_loras=size, max_cpu_loras=size + 1)
            c = self.live.current
            in_use = {each for each, count in users.items() if count}
            for each in [each for each in memory if each not in in_use]:
                if len(memory) > (c.max_cpu_loras or 0):
                    del memory[each]
            held = {each for each in range(1, 7) if self.slots.holds(adapter_of(f"a{each}"))}
            self.assertLessEqual(in_use, held)
            self.assertLessEqual(held, set(memory))
            self.assertLessEqual(len(held), max(c.max_loras, len(in_use)))
            self.assertEqual(len(in_use) < c.max_loras, self.slots.loadable())
            if any(each[0] == "slots" for each in self.metrics.heard):
                self.assertEqual((len(held), len(memory)), self.counts())
