# -*- test-case-name: tests.scheduling.test_health -*-
"""How a rank is, as probes see it: as it really is, or worse where someone wants that."""

from attrs import define, field
from zope.interface import implementer

from vllmsim.interfaces import IHealth
from vllmsim.scheduling.lifecycle import RankLifecycle


@implementer(IHealth)
@define(eq=False)
class RankHealth:
    """Tells probes how a rank is. Nothing else depends on it: whatever it tells, requests are served."""

    _lifecycle: RankLifecycle
    healthy: bool = field(init=False, default=True)
    willing: bool = field(init=False, default=True)

    def ready(self) -> bool:
        """Tell whether a load balancer should send requests here."""
        return self.healthy and self.willing and self._lifecycle.ready()
