# -*- test-case-name: tests.test_service -*-
"""A rank as a service: it listens, serves, and stops in order."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from vllmsim.announcing import Load
from vllmsim.assembly.shared import Shared, build_shared
from vllmsim.clocks.clocks import ClockKind, make_clocks
from vllmsim.config.live import LiveConfiguration
from vllmsim.config.scenario.values import Scenario
from vllmsim.config.schema import Configuration
from vllmsim.crowding import Room
from vllmsim.identity import admin_endpoint_of, endpoint_of, grpc_endpoint_of, url_of
from vllmsim.inference import RankLoad
from vllmsim.interfaces import IConfigurations
from vllmsim.listening import Listener, StartError, keyring_for
from vllmsim.parting import let_in, within
from vllmsim.rank import Rank, build_rank
from vllmsim.scenario.options import ScenarioOptions
from vllmsim.scenario.player import Scenarios
from vllmsim.scheduling.timecontrol import TimeControl
from vllmsim.threads import Threads

if TYPE_CHECKING:
    from vllmsim.assembly.joining import RankGroup
    from vllmsim.tls.keyring import Keyring

_FLUSH_TIMEOUT: Final = 5.0
"""Seconds that clients have to read what is written, once the last request is served."""
_HOW: Final = {
    False: "have a port each; with data-parallel-internal-lb they have one, as vLLM's have",
    True: "have one port, and each request goes to the rank with the least to do",
}
"""What the log says about several ranks, by whether the server balances among them."""

_log = Logger()


class LogError(SystemExit):
    """A file cannot be written to: ends the program with status 1 and one line that says why."""

    def __init__(self, what: str, path: str, reason: object) -> None:
        super().__init__(f"vllmsim: cannot write to the {what} {path!r}: {reason}")


class RankService(Service):
    """Starts a rank and listens for it; stops in order: no new connections, the last tokens, then everything.

    :param ranks: those that requests to its port may be served by: it and others, which stop at the same time.
    :param endpoints: where to listen; nowhere if another rank does for this one, for administrators too.
    :param url: what the log says about that.
    :param admin_endpoint: where to listen for administrators, if that is elsewhere.
    :param keyring: has the certificates, where one of them needs any.
    :param shutdown_timeout: seconds that requests may take to end.
    :param room: that there is for connections.
    :raises vllmsim.listening.StartError: when the endpoint is none.
    """

    _log: ClassVar[Logger] = Logger()

    def __init__(
        self,
        rank: Rank,
        ranks: Sequence[Rank],
        endpoints: Sequence[str],
        url: str,
        shutdown_timeout: float,
        reactor: Any,
        admin_endpoint: str | None = None,
        *,
        keyring: "Keyring | None",
        room: Room,
    ) -> None:
        self._rank = rank
        self._ranks = ranks
        self._url = url
        self._shutdown_timeout = shutdown_timeout
        self._clock: IReactorTime = reactor
        self._sites = [rank.site]
        self._listeners = [Listener(endpoint, rank.site, reactor, keyring, room.bound) for endpoint in endpoints]
        self._admin_endpoint = admin_endpoint if endpoints else None
        if rank.admin is not None and self._admin_endpoint is not None:
            self._sites.append(rank.admin)
            self._listeners.append(Listener(self._admin_endpoint, rank.admin, reactor, keyring, room.bound))

    @property
    def load(self) -> RankLoad:
        """What the rank has to do."""
        return self._rank.simulator.load()

    def privilegedStartService(self) -> None:
        """Listen.

        :raises vllmsim.listening.StartError: when that is not possible.
        """
        super().privilegedStartService()
        for listener in self._listeners:
            listener.privilegedStartService()
        if self._rank.events is not None:
            try:
                self._rank.events.open()
            except OSError as error:
                raise StartError(error.filename, error.strerror) from error

    def startService(self) -> None:
        """Begin to serve."""
        super().startService()
        for file in self._rank.files:
            try:
                file.check()
            except OSError as error:
                raise LogError(file.what, file.path, error.strerror or error) from error
        self._rank.start()
        for listener in self._listeners:
            listener.startService()
        if self._listeners:
            self._log.info("Starting vLLM server on {url}", url=self._url)
        if self._admin_endpoint is not None:
            self._log.info("Administrators are served on {endpoint}", endpoint=self._admin_endpoint)

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
        rank.journal.release()
        await let_in(self._clock, self._sites)
        for listener in self._listeners:
            await listener.stopService()
        closed = [site.close() for site in self._sites]
        try:
            await Deferred.fromCoroutine(self._drain()).addTimeout(self._shutdown_timeout, self._clock)
        except DeferredTimeoutError:
            self._log.warn("Requests are still running after {seconds} s.", seconds=self._shutdown_timeout)
            rank.simulator.requests.dismiss()
        if rank.events is not None:
            # Those who read events in this process would stay for ever.
            rank.events.stop()
        for each in closed:
            each.addTimeout(_FLUSH_TIMEOUT, self._clock)
        for site, each in zip(self._sites, closed, strict=True):
            try:
                await each
            except DeferredTimeoutError:
                site.dismiss()
                # What is said last is sent in the next turn.
                await deferLater(self._clock, 0)
        rank.stop()
        for file in rank.files:
            await within(self._clock, f"The {file.what}", file.stop())
        if rank.store is not None:
            await within(self._clock, "The store of KV blocks", rank.store.stop())
        if rank.events is not None:
            await within(self._clock, "KV events", rank.events.close())

    async def _drain(self) -> None:
        for rank in self._ranks:
            await rank.simulator.requests.drain()


class RankServices(MultiService):
    """The ranks of one process; gives back what they share when the last has stopped."""

    _log: ClassVar[Logger] = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        shared: Shared,
        scenarios: Scenarios,
        scenario: Scenario | None,
        time: TimeControl,
        keyring: "Keyring | None" = None,
    ) -> None:
        super().__init__()
        self._clock = clock
        self._keyring = keyring
        self._shared = shared
        self._scenarios = scenarios
        self._scenario = scenario
        self._time = time

    def startService(self) -> None:
        """Start what the ranks share, the ranks, and then the scenario that begins with them.

        :raises SystemExit: when requests cannot be traced as the environment has it; the message says why.
        """
        self._shared.start()
        super().startService()
        if self._scenario is not None and self._scenarios.concerns(self._scenario):
            playing = Deferred.fromCoroutine(self._scenarios.play(self._scenario))
            playing.addErrback(lambda reason: self._log.failure("The scenario cannot begin.", reason))

    def load(self) -> Load:
        """Tell what the ranks have to do."""
        loads = [each.load for each in self if isinstance(each, RankService)]
        return Load(len(loads), sum(load.running for load in loads), sum(load.waiting for load in loads))

    def reload(self, who: str) -> None:
        """Read certificates again, if there are any.

        :param who: says in the log who wants it.
        """
        if self._keyring is not None:
            self._keyring.reload(who)

    def stopService(self) -> Deferred[None]:
        """Stop the scenario that is played, then the ranks, then what they share."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self._scenarios.stop()
        stopped = super().stopService()
        # Nobody can have it go on any more if it stands still.
        self._time.run_on()
        await stopped
        self._time.stop()
        await within(self._clock, "What ranks share", self._shared.close())


def rank_services(
    lives: Mapping[int, LiveConfiguration],
    configurations: IConfigurations,
    seed: int,
    reactor: Any,
    trusted: bytes = b"",
) -> RankServices:
    """Make the services of the ranks that this process has.

    :param lives: their configurations, by their numbers.
    :param configurations: those of all ranks of the server.
    :param reactor: provides time, sockets and a thread pool.
    :param trusted: clients' certificates that are believed beside those of the authorities, as PEM.
    :raises vllmsim.listening.StartError: when one cannot be.
    :raises SystemExit: when what they share cannot be; the message says why.
    """
    first = next(iter(lives.values())).current
    clocks = make_clocks(cast("ClockKind", first.clock), first.time_scale, reactor)
    time = TimeControl(clocks)
    in_thread = clocks.standstill.counted(Threads(reactor).defer)
    shared = build_shared(first, clocks, in_thread)
    group = _group(lives, first) if len(lives) > 1 else None
    begun = None if group is None else group.begin
    scenarios = Scenarios(clocks.background, ScenarioOptions(configurations), seed, clocks.epoch, in_thread, begun)
    numbers = list(lives)
    listening = numbers[:1] if first.balances else numbers
    endpoints = {number: _endpoints(first, number) if number in listening else [] for number in numbers}
    admin_endpoints = {number: admin_endpoint_of(first, number) for number in numbers}
    every = filter(None, chain(*endpoints.values(), admin_endpoints.values()))
    keyring = keyring_for(every, reactor, first.ssl_keyfile_password, trusted)
    services = RankServices(reactor, shared, scenarios, _scenario(first), time, keyring)
    ranks = [
        build_rank(
            live,
            number,
            seed,
            clocks,
            in_thread,
            shared=shared,
            configurations=configurations,
            group=group,
            scenarios=scenarios,
            time=time,
        )
        for number, live in lives.items()
    ]
    room = Room(reactor)
    for number, rank in zip(lives, ranks, strict=True):
        RankService(
            rank,
            ranks,
            endpoints[number],
            url_of(first, number),
            first.shutdown_timeout,
            reactor,
            admin_endpoints[number],
            keyring=keyring,
            room=room,
        ).setServiceParent(services)
    if group is not None:
        _log.info("Ranks {first} to {last} {how}.", first=min(lives), last=max(lives), how=_HOW[group.balances])
    return services


def _endpoints(first: Configuration, number: int) -> list[str]:
    """List where a rank listens for those who ask it for answers."""
    return [endpoint for endpoint in (endpoint_of(first, number), grpc_endpoint_of(first, number)) if endpoint]


# What most servers do not need is imported when it is: together it would take a twentieth of the start.


def _group(lives: Mapping[int, LiveConfiguration], first: Configuration) -> "RankGroup":
    from vllmsim.assembly.joining import RankGroup  # noqa: PLC0415 - see above

    return RankGroup([*lives], first.balances)


def _scenario(first: Configuration) -> Scenario | None:
    if first.scenario is None:
        return None
    from vllmsim.config.scenario.reading import scenario_of  # noqa: PLC0415 - see above

    return scenario_of(first)
