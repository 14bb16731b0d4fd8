# -*- test-case-name: tests.kvcache.events.test_sockets -*-
"""The sockets by which a rank's KV events leave, from before the first to after the last."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from zope.interface import implementer

from vllmsim.config.events import EventSettings
from vllmsim.interfaces import IBlockEventOutlet, ICacheMetrics
from vllmsim.kvcache.events.replay import Replay

if TYPE_CHECKING:
    from txzmq import ZmqFactory

    from vllmsim.kvcache.events.publishing import SocketPublisher
    from vllmsim.kvcache.events.router import ReplayRouter

_LINGER: Final = 1000
"""Milliseconds that subscribers have to take what is on its way to them when the rank stops."""


@implementer(IBlockEventOutlet)
@define(eq=False)
class EventSockets:
    """Opens and closes sockets. Batches that come while they are closed go nowhere.

    :param defer_to_thread: runs a function off the reactor.
    :param replay: answers who asks for batches once more, if somebody may.
    """

    _settings: EventSettings
    _metrics: ICacheMetrics
    _defer_to_thread: Callable[..., Deferred[Any]]
    _replay: Replay | None = None
    _factory: "ZmqFactory | None" = field(init=False, default=None)
    _publisher: "SocketPublisher | None" = field(init=False, default=None)
    _router: "ReplayRouter | None" = field(init=False, default=None)

    def describe(self) -> Mapping[str, object]:
        """Tell where the rank publishes; when it is open, with the ports that it got."""
        own = self._settings
        if self._publisher is not None:
            own = evolve(own, endpoint=self._publisher.endpoint)
        if self._router is not None:
            own = evolve(own, replay_endpoint=self._router.endpoint)
        return own.described()

    def open(self) -> None:
        """Bind or connect. Not before the process is the one that stays: ZeroMQ has threads, which no fork takes along.

        :raises OSError: when that is not possible; ``filename`` is the endpoint.
        """
        # ZeroMQ takes a while to import, and txZMQ installs a reactor.
        from txzmq import ZmqFactory  # noqa: PLC0415

        from vllmsim.kvcache.events.publishing import SocketPublisher  # noqa: PLC0415
        from vllmsim.kvcache.events.router import ReplayRouter  # noqa: PLC0415

        self._factory = ZmqFactory()
        self._factory.lingerPeriod = _LINGER
        try:
            if self._replay is not None:
                self._router = ReplayRouter(self._factory, self._settings.replay_endpoint, self._replay)
            self._publisher = SocketPublisher(self._factory, self._settings, self._metrics)
        except OSError:
            self._close_router()
            # Nothing is on its way that this could wait for.
            self._factory.context.term()
            self._factory = None
            raise

    def publish(self, sequence: int, payload: bytes, events: int) -> None:
        """Send a batch; see :class:`vllmsim.interfaces.IBlockEventOutlet`."""
        if self._publisher is not None:
            self._publisher.publish(sequence, payload, events)

    async def close(self) -> None:
        """Close the sockets, when what is on its way has left or has had its time. Harmless when they are closed."""
        self._close_router()
        if self._publisher is not None:
            self._publisher.close()
            self._publisher = None
        if self._factory is not None:
            context, self._factory = self._factory.context, None
            # This waits for the sockets' last messages.
            await self._defer_to_thread(context.term)

    def _close_router(self) -> None:
        if self._router is not None:
            self._router.shutdown()
            self._router = None
