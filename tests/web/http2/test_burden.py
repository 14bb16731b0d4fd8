"""What streams keep together."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.web.http2.burden import BODIES, HEADS, Burden


class BurdenTests(SynchronousTestCase):
    """One connection."""

    def test_heads(self) -> None:
        """A stream is let in when its head fits beside the others."""
        self.assertTrue(Burden().admits(HEADS))
        self.assertEqual([True, False], [Burden(heads=HEADS - 10).admits(size) for size in (10, 11)])

    def test_bodies(self) -> None:
        """Two bodies of any size that is allowed fit."""
        self.assertEqual([False, True], [Burden(bodies=BODIES + more).overfull(1000) for more in (0, 1)])
        self.assertEqual([False, True], [Burden(bodies=2 * BODIES + more).overfull(BODIES) for more in (0, 1)])
