# -*- test-case-name: tests.grpc.test_health -*-
"""``grpc.health.v1``: how a rank is, for probes and load balancers that ask over gRPC.

A service is ``SERVING`` when requests should be sent here, as ``/health/ready`` tells it, and so is the whole server,
which is asked for by the empty name.
"""

from collections.abc import AsyncIterator, Callable, Collection
from functools import partial
from typing import Any, ClassVar, Final

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from vllmsim.api.health import HEALTH, HealthCheckResponse, HealthListResponse
from vllmsim.errors import Unavailable
from vllmsim.grpc.rpc import Rpc
from vllmsim.grpc.service import Service
from vllmsim.grpc.status import CallError, Code
from vllmsim.grpc.watching import Watched
from vllmsim.interfaces import IHealth
from vllmsim.web.site import Site

_INTERVAL: Final = 0.5
"""Seconds between looks, while somebody watches."""
_WHOLE: Final = ""


@define(eq=False)
class HealthCalls:
    """Tells how services are.

    :param services: lists the names of those that are served.
    """

    service: ClassVar[Service] = Service(HEALTH.service("Health"))

    _clock: IReactorTime
    _health: IHealth
    _services: Callable[[], Collection[str]]
    _watched: Watched | None = field(init=False, default=None)

    @service.unary("Check")
    def check(self, request: Any, _: Rpc) -> Any:
        """Tell how a service is now.

        :raises CallError: when it is not served.
        """
        if not self._serves(request.service):
            raise CallError(Code.NOT_FOUND, "No service of this name is served here.", 404)
        return HealthCheckResponse(status=self._status())

    @service.unary("List")
    def list(self, request: Any, _: Rpc) -> Any:
        """Tell how all are."""
        answer = HealthListResponse()
        for name in (_WHOLE, *self._services()):
            answer.statuses[name].status = self._status()
        return answer

    @service.stream("Watch")
    async def watch(self, request: Any, rpc: Rpc) -> AsyncIterator[Any]:
        """Tell how a service is, and again whenever that has changed, until the server stops.

        :raises Unavailable: then.
        """
        site = rpc.site
        look = partial(self._look, site)
        if self._watched is None:
            self._watched = Watched(self._clock, _INTERVAL, look)
        known, told = self._serves(request.service), None
        while True:
            seen = status, closing = look()
            status = status if known else HealthCheckResponse.SERVICE_UNKNOWN
            if status != told:
                told = status
                yield HealthCheckResponse(status=status)
            if closing:
                raise Unavailable("The server stops.")
            await self._watched.change(seen)

    def _look(self, site: Site) -> tuple[int, bool]:
        """Tell how the rank is, and whether it closes: nobody must wait then for who would watch for ever."""
        return self._status(), site.closing

    def _serves(self, name: str) -> bool:
        return name == _WHOLE or name in self._services()

    def _status(self) -> int:
        ready = self._health.ready()
        status: int = HealthCheckResponse.SERVING if ready else HealthCheckResponse.NOT_SERVING
        return status
