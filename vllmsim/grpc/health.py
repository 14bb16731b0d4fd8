# -*- test-case-name: tests.grpc.test_health -*-
"""``grpc.health.v1``: how a rank is, for probes and load balancers that ask over gRPC.

A service is ``SERVING`` when requests should be sent here, as ``/health/ready`` tells it, and so is the whole server,
which is asked for by the empty name.
"""

from collections.abc import AsyncIterator, Callable, Collection
from typing import Any, ClassVar, Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from vllmsim.api.health import HEALTH, HealthCheckResponse, HealthListResponse
from vllmsim.grpc.rpc import Rpc
from vllmsim.grpc.service import Service
from vllmsim.grpc.status import CallError, Code
from vllmsim.grpc.watching import Watched
from vllmsim.interfaces import IHealth

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
    _watched: Watched = field(init=False)

    @_watched.default
    def _watch_health(self) -> Watched:
        return Watched(self._clock, _INTERVAL, self._status)

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
    async def watch(self, request: Any, _: Rpc) -> AsyncIterator[Any]:
        """Tell how a service is, and again whenever that has changed."""
        if not self._serves(request.service):
            yield HealthCheckResponse(status=HealthCheckResponse.SERVICE_UNKNOWN)
            # It will not be served while the server runs.
            await Deferred()
        while True:
            status = self._status()
            yield HealthCheckResponse(status=status)
            await self._watched.change(status)

    def _serves(self, name: str) -> bool:
        return name == _WHOLE or name in self._services()

    def _status(self) -> int:
        ready = self._health.ready()
        status: int = HealthCheckResponse.SERVING if ready else HealthCheckResponse.NOT_SERVING
        return status
