# -*- test-case-name: tests.test_service -*-
"""A rank as a service: it listens, serves, and stops in order."""

from collections.abc import Iterable
from functools import partial
from typing import Any, ClassVar, Final

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from vllmsim.config.live import LiveConfiguration
from vllmsim.config.schema import Configuration
from vllmsim.identity import endpoint_of, url_of
from vllmsim.listening import Listener, StartError
from vllmsim.rank import Rank, build_rank
from vllmsim.shared import Shared, build_shared

_FLUSH_TIMEOUT: Final = 5.0
"""Seconds that clients have to read what is written, once the last request is served."""


class RankService(Service):
    """Starts a rank and listens for it; stops in order: no new connections, the last tokens, then everything.

    :param endpoint: where to listen.
    :param url: what the log says about that.
    :param shutdown_timeout: seconds that requests may take to end.
    :raises vllmsim.listening.StartError: when the endpoint is none.
    """

    _log: ClassVar[Logger] = Logger()

    def __init__(self, rank: Rank, endpoint: str, url: str, shutdown_timeout: float, reactor: Any) -> None:
        self._rank = rank
        self._url = url
        self._shutdown_timeout = shutdown_timeout
        self._clock: IReactorTime = reactor
        self._listener = Listener(endpoint, rank.site, reactor)

    def privilegedStartService(self) -> None:
        """Listen.

        :raises vllmsim.listening.StartError: when that is not possible.
        """
        super().privilegedStartService()
        self._listener.privilegedStartService()
        if self._rank.sockets is not None:
            try:
                self._rank.sockets.open()
            except OSError as error:
                raise StartError(error.filename, error.strerror) from error

    def startService(self) -> None:
        """Begin to serve."""
        super().startService()
        self._rank.start()
        self._listener.startService()
        self._log.info("Starting vLLM server on {url}", url=self._url)

    def stopService(self) -> Deferred[None]:
        """Stop in order.

        :return: fires when no request, no connection and no timer is left.
        """
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        rank = self._rank
        rank.lifecycle.drain()
        # Nobody can have it go on any more if it stands still.
        rank.control.resume()
        rank.control.wake_up(())
        await self._listener.stopService()
        closed = rank.site.close()
        try:
            await rank.simulator.requests.drain().addTimeout(self._shutdown_timeout, self._clock)
        except DeferredTimeoutError:
            self._log.warn("Requests are still running after {seconds} s.", seconds=self._shutdown_timeout)
            rank.simulator.requests.dismiss()
        try:
            await closed.addTimeout(_FLUSH_TIMEOUT, self._clock)
        except DeferredTimeoutError:
            rank.site.abort()
        rank.stop()
        if rank.store is not None:
            await rank.store.stop()
        if rank.sockets is not None:
            await rank.sockets.close()


class RankServices(MultiService):
    """The ranks of one process; gives back what they share when the last has stopped."""

    def __init__(self, shared: Shared) -> None:
        super().__init__()
        self._shared = shared

    def stopService(self) -> Deferred[None]:
        """Stop the ranks, then what they share."""
        return Deferred.fromCoroutine(self._stop(super().stopService()))

    async def _stop(self, ranks: Deferred[Any]) -> None:
        await ranks
        await self._shared.close()


def rank_services(configuration: Configuration, ranks: Iterable[int], seed: int, reactor: Any) -> RankServices:
    """Make the services of the ranks that this process has.

    :param ranks: their numbers.
    :param reactor: provides time, sockets and a thread pool.
    :raises vllmsim.listening.StartError: when one cannot be.
    :raises SystemExit: when what they share cannot be; the message says why.
    """
    in_thread = partial(deferToThreadPool, reactor, reactor.getThreadPool())
    shared = build_shared(configuration, reactor, in_thread)
    services = RankServices(shared)
    for number in ranks:
        RankService(
            build_rank(LiveConfiguration(configuration), number, seed, reactor, in_thread, shared=shared),
            endpoint_of(configuration, number),
            url_of(configuration, number),
            configuration.shutdown_timeout,
            reactor,
        ).setServiceParent(services)
    return services
