# -*- test-case-name: tests.parallel.test_loads -*-
"""How much the ranks have to do that have one port."""

from collections.abc import Sequence

from attrs import define
from zope.interface import implementer

from vllmsim.interfaces import ILoads
from vllmsim.loads import LoadFigures


@implementer(ILoads)
@define(eq=False)
class JointLoads:
    """Tells of several ranks, each for itself."""

    _ranks: Sequence[ILoads]

    @property
    def ranks(self) -> Sequence[int]:
        """All of them, the lowest first."""
        return sorted(number for each in self._ranks for number in each.ranks)

    def figures(self, rank: int) -> LoadFigures | None:
        """Ask the one that is meant; see :class:`vllmsim.interfaces.ILoads`."""
        return next((each.figures(rank) for each in self._ranks if rank in each.ranks), None)
