"""The collector of garbage, and how long a thread computes."""

import gc
import sys

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.tuning import building


class BuildingTests(SynchronousTestCase):
    """While a daemon is built, and when it is."""

    def setUp(self) -> None:
        """Leave everything as it was."""
        self.addCleanup(gc.set_threshold, *gc.get_threshold())
        self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
        self.addCleanup(gc.unfreeze)

    def test_built(self) -> None:
        """Nobody looks for garbage meanwhile; then what was made is left alone, and the rest is looked at seldom."""
        frozen = gc.get_freeze_count()
        with building():
            self.assertFalse(gc.isenabled())
        self.assertTrue(gc.isenabled())
        self.assertTrue(gc.get_freeze_count() > frozen)
        self.assertEqual((10_000, 20, 100), gc.get_threshold())
        self.assertAlmostEqual(0.0005, sys.getswitchinterval())

    def test_failed(self) -> None:
        """What cannot be built leaves the collector as it was."""
        before = gc.get_threshold()

        def fail() -> None:
            with building():
                raise OSError

        self.assertRaises(OSError, fail)
        self.assertEqual((True, before), (gc.isenabled(), gc.get_threshold()))
