"""How much of what is no use clients may send."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.web.http2.allowance import Allowance


class AllowanceTests(SynchronousTestCase):
    """Spending and earning."""

    def test_time(self) -> None:
        """What is spent comes back with time, up to what was there at the beginning."""
        clock = Clock()
        allowance = Allowance(clock, 3, 2)
        self.assertEqual([True, True, True, False], [allowance.spend() for _ in range(4)])
        clock.advance(1)
        self.assertEqual([True, False], [allowance.spend() for _ in range(2)])
        clock.advance(1000)
        self.assertEqual([True, False], [allowance.spend(3), allowance.spend()])

    def test_earned(self) -> None:
        """What is of use earns more of what is not."""
        allowance = Allowance(Clock(), 3, 2)
        self.assertTrue(allowance.spend(3))
        allowance.earn(1)
        self.assertEqual([True, False], [allowance.spend(), allowance.spend()])
