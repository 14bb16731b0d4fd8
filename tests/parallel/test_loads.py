"""The loads of several ranks."""

from collections.abc import Sequence

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from vllmsim.interfaces import ILoads
from vllmsim.loads import LoadFigures
from vllmsim.parallel.loads import JointLoads


@implementer(ILoads)
@frozen(eq=False)
class GivenLoads:
    """Tells of some ranks that they have as much to do as their number says."""

    ranks: Sequence[int]

    def figures(self, rank: int) -> LoadFigures | None:
        """Tell of one."""
        return LoadFigures(rank, rank)


class JointLoadsTests(SynchronousTestCase):
    """Ranks with one port."""

    def test_joined(self) -> None:
        """Each rank tells of itself; of others nobody does."""
        loads = JointLoads([GivenLoads([5]), GivenLoads([3, 4])])
        verifyObject(ILoads, loads)
        self.assertEqual([3, 4, 5], [*loads.ranks])
        told = [LoadFigures(3, 3), LoadFigures(4, 4), LoadFigures(5, 5), None]
        self.assertEqual(told, [loads.figures(number) for number in (3, 4, 5, 6)])
