"""How a rank is."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from vllmsim.interfaces import IHealth
from vllmsim.scheduling.health import RankHealth
from vllmsim.scheduling.lifecycle import rank_lifecycle


class HealthTests(SynchronousTestCase):
    """A rank that loads for a second."""

    def test_ready(self) -> None:
        """It is ready when its model is loaded, it is healthy, and willing."""
        clock = Clock()
        lifecycle = rank_lifecycle(clock, 1)
        health = RankHealth(lifecycle)
        verifyObject(IHealth, health)
        lifecycle.start()
        self.assertEqual((False, True, True), (health.ready(), health.healthy, health.willing))
        clock.advance(1)
        self.assertTrue(health.ready())
        health.healthy = False
        self.assertFalse(health.ready())
        health.healthy, health.willing = True, False
        self.assertFalse(health.ready())
        health.willing = True
        self.assertTrue(health.ready())
