"""The life of a rank."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.scheduling.lifecycle import rank_lifecycle


class LifecycleTests(SynchronousTestCase):
    """When a rank is ready, and when it accepts requests."""

    def test_loading(self) -> None:
        """A rank is ready after its start-up duration, and accepts requests before."""
        clock = Clock()
        lifecycle = rank_lifecycle(clock, 10)
        self.assertEqual((False, False), (lifecycle.ready(), lifecycle.accepting()))
        lifecycle.start()
        self.assertEqual((False, True), (lifecycle.ready(), lifecycle.accepting()))
        clock.advance(10)
        self.assertEqual((True, True), (lifecycle.ready(), lifecycle.accepting()))

    def test_draining(self) -> None:
        """A rank that drains accepts nothing, and is stopped in the end."""
        clock = Clock()
        lifecycle = rank_lifecycle(clock, 0)
        lifecycle.start()
        clock.advance(0)
        lifecycle.drain()
        self.assertEqual((False, False), (lifecycle.ready(), lifecycle.accepting()))
        lifecycle.stop()
        self.assertEqual((False, False), (lifecycle.ready(), lifecycle.accepting()))

    def test_draining_while_loading(self) -> None:
        """A rank that drains before it was loaded leaves no timer."""
        clock = Clock()
        lifecycle = rank_lifecycle(clock, 10)
        lifecycle.start()
        lifecycle.drain()
        self.assertEqual([], clock.getDelayedCalls())

    def test_never_started(self) -> None:
        """A rank that was never started can be stopped."""
        rank_lifecycle(Clock(), 0).stop()
