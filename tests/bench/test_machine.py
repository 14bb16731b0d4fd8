"""Who runs where."""

import os

from twisted.trial.unittest import SynchronousTestCase

from bench.machine import Cores, busy_seconds, cpu_model, share_a_core


class CoresTests(SynchronousTestCase):
    """Sharing the cores that there are."""

    def test_two(self) -> None:
        """With two cores, a second server shares the client's."""
        self.assertEqual(Cores(server=1, client=0, second=0), Cores.of({0, 1}))

    def test_more(self) -> None:
        """With three, everybody has one."""
        cores = Cores.of({2, 4, 7})
        self.assertEqual((Cores(server=7, client=2, second=4), {2, 4, 7}), (cores, cores.used))

    def test_one(self) -> None:
        """With one, nobody is pinned."""
        self.assertEqual((Cores(None, None, None), set()), (Cores.of({3}), Cores.of({3}).used))

    def test_siblings(self) -> None:
        """Two threads of one core are told from two cores."""
        cores = Cores.of({0, 1})
        self.assertTrue(share_a_core({0: "0-1\n", 1: "0-1\n"}, cores))
        self.assertFalse(share_a_core({0: "0\n", 1: "1\n"}, cores))

    def test_busy(self) -> None:
        """A core works for programs, the system and interrupts, not when it waits; only our cores count."""
        tick = os.sysconf("SC_CLK_TCK")
        work = f"{tick} {tick} {tick} 99999 88888 {tick} {tick} 0 0 0"
        stat = f"cpu  1 2 3 4 5 6 7 0 0 0\ncpu0 {work}\ncpu1 {work}\ncpu10 {work}\nintr 5\n"
        self.assertEqual(10.0, busy_seconds(stat, {0, 1}))

    def test_model(self) -> None:
        """The processor's name is the first one that the kernel tells."""
        self.assertEqual("Fast One", cpu_model("processor\t: 0\nmodel name\t: Fast One\nmodel name\t: Other\n"))
