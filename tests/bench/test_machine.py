"""Who runs where."""

from twisted.trial.unittest import SynchronousTestCase

from bench.machine import Cores, cpu_model, share_a_core


class CoresTests(SynchronousTestCase):
    """Sharing the cores that there are."""

    def test_two(self) -> None:
        """With two cores, a second server shares the client's."""
        self.assertEqual(Cores(server=1, client=0, second=0), Cores.of({0, 1}))

    def test_more(self) -> None:
        """With three, everybody has one."""
        self.assertEqual(Cores(server=7, client=2, second=4), Cores.of({2, 4, 7}))

    def test_one(self) -> None:
        """With one, nobody is pinned."""
        self.assertEqual(Cores(None, None, None), Cores.of({3}))

    def test_siblings(self) -> None:
        """Two threads of one core are told from two cores."""
        cores = Cores.of({0, 1})
        self.assertTrue(share_a_core({0: "0-1\n", 1: "0-1\n"}, cores))
        self.assertFalse(share_a_core({0: "0\n", 1: "1\n"}, cores))

    def test_model(self) -> None:
        """The processor's name is the first one that the kernel tells."""
        self.assertEqual("Fast One", cpu_model("processor\t: 0\nmodel name\t: Fast One\nmodel name\t: Other\n"))
