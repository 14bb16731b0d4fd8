# -*- test-case-name: tests.test_daemon -*-
"""The daemon, put together: what serves ranks or has them served, and what reloads, announces and stops it.

What installs a reactor when it is imported, and what only some daemons need, is imported where it is needed.
"""

import os
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from attrs import evolve
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from vllmsim.announcing import Announcer
from vllmsim.config.arguments import Arguments, renewed
from vllmsim.config.changes import LiveConfigurations
from vllmsim.config.live import LiveConfiguration
from vllmsim.config.loading import Loaded, load
from vllmsim.config.plugins import has_plugins
from vllmsim.config.schema import Configuration, own_options
from vllmsim.interfaces import IConfigurations
from vllmsim.logs.destination import Destination, LoggedServices
from vllmsim.logs.opening import name_doubts
from vllmsim.randomness import fresh_seed
from vllmsim.stopping import SignalService
from vllmsim.threads import PoolThread
from vllmsim.tuning import building

if TYPE_CHECKING:
    from vllmsim.processes.authority import ConfigurationAuthority
    from vllmsim.processes.supervisor import Supervisor
    from vllmsim.reloading import Reloading
    from vllmsim.service import RankServices

_log = Logger()

RANKS: Final = "ranks"
"""What the service is called that serves ranks, or has them served."""
_SOON: Final = 1.0
"""Seconds after the start when there is time for what the first requests may not need."""


def build_daemon(
    arguments: Arguments, loaded: Loaded, twistd: Mapping[str, Any], environ: Mapping[str, str]
) -> MultiService:
    """Build the daemon.

    :param arguments: what its command line says.
    :param loaded: its configuration, and where that comes from.
    :param twistd: what the command line of twistd says; empty where another program than twistd has read ours.
    :param environ: the environment.
    :raises vllmsim.listening.StartError: when it cannot listen.
    :raises SystemExit: when something else that is asked for cannot be; the message says why.
    """
    configuration = loaded.configuration
    if configuration.otlp_traces_endpoint:
        _require_tracing(configuration.otlp_traces_endpoint, environ)
    seed = configuration.seed
    if seed is None:
        seed = fresh_seed()
        _log.info("The seed is {seed}.", seed=seed)
    running = evolve(configuration, seed=seed)
    lives = {number: LiveConfiguration(running) for number in configuration.ranks}
    configurations = LiveConfigurations(lives, loaded, time.time, _try)
    announcer = _announcer(configuration, environ)
    build = partial(_serve, lives=lives, configurations=configurations, seed=seed, announcer=announcer)
    take = configurations.reload
    if configuration.data_parallel_processes:
        authority = _authority(configurations)
        build = partial(_supervise, configuration=configuration, authority=authority, seed=seed, announcer=announcer)
        take = authority.reload
    observer = Destination(twistd, environ, _reactor()).observer(configuration.log_format, lives.values())
    top = LoggedServices(observer, partial(name_doubts, loaded, environ))
    _prepare(top, configuration, build, announcer, environ)
    announcer.join(top)
    reloading = _reloading(arguments, loaded, take, environ)
    reloading.setServiceParent(top)
    return _signalled(top, os._exit, partial(announcer.reload, partial(_hung_up, top, reloading)), announcer.stopping)


def serve(
    lives: Mapping[int, LiveConfiguration],
    configurations: IConfigurations,
    seed: int,
    leave: Callable[[int], Any] | None = os._exit,
    trusted: bytes = b"",
) -> MultiService:
    """Build what serves ranks in this process, which have all that they need.

    :param lives: their configurations, by their numbers.
    :param configurations: those of all ranks of the server.
    :param seed: the daemon's seed.
    :param leave: see :class:`vllmsim.stopping.SignalService`.
    :param trusted: clients' certificates that are believed beside those of the authorities, as PEM.
    :raises vllmsim.listening.StartError: when one cannot be.
    """
    top = MultiService()
    _serve(top, lives, configurations, seed, Announcer(), trusted)
    return _signalled(top, leave, partial(_hung_up, top, None))


def _announcer(configuration: Configuration, environ: Mapping[str, str]) -> Announcer:
    """Find who is told how the daemon is."""
    if not environ.get("NOTIFY_SOCKET"):
        return Announcer()
    from vllmsim.systemd.notifying import announcer  # noqa: PLC0415 - most servers are no services of systemd's

    return announcer(environ, configuration, _reactor())


def _prepare(
    top: MultiService,
    configuration: Configuration,
    build: Callable[[MultiService], None],
    announcer: Announcer,
    environ: Mapping[str, str],
) -> None:
    """Build a daemon, after what is missing is there if something is."""
    from vllmsim.preparing import Preparation, get, needs  # noqa: PLC0415

    try:
        needed = needs(configuration, environ)
    except ValueError as error:
        raise SystemExit(f"vllmsim: cannot start: {error}") from error
    if needed:
        announcer.preparing(str(needed))
        reactor = _reactor()
        Preparation(partial(get, needed, configuration, environ, reactor), build, reactor).setServiceParent(top)
    else:
        build(top)


def _try(before: Configuration, now: Configuration) -> list[tuple[str, str]]:
    """Look whether a change of the configuration can have the plugins that it wants."""
    if not has_plugins(now):
        return []
    from twisted.internet.threads import deferToThreadPool  # noqa: PLC0415 - few servers have plugins

    from vllmsim.assembly.trying import try_plugins  # noqa: PLC0415

    reactor = _reactor()
    return try_plugins(before, now, reactor, partial(deferToThreadPool, reactor, reactor.getThreadPool()))


def _require_tracing(endpoint: str, environ: Mapping[str, str]) -> None:
    """Make sure that traces can be sent, before this becomes a daemon."""
    from vllmsim.tracing.collector import choose, require  # noqa: PLC0415

    require(choose(endpoint, environ))


def _authority(configurations: LiveConfigurations) -> "ConfigurationAuthority":
    from vllmsim.processes.authority import ConfigurationAuthority  # noqa: PLC0415

    return ConfigurationAuthority(configurations, _reactor())


def _reloading(
    arguments: Arguments,
    loaded: Loaded,
    take: Callable[[Loaded, str], Awaitable[None]],
    environ: Mapping[str, str],
) -> "Reloading":
    """Make what reads the configuration again."""
    from twisted.internet.threads import deferToThreadPool  # noqa: PLC0415

    from vllmsim.reloading import Reloading  # noqa: PLC0415

    reactor, path = _reactor(), arguments.config
    # A daemon may leave the folder that it was started in.
    arguments = evolve(arguments, config=path and os.path.abspath(path))  # noqa: PTH100
    return Reloading(
        arguments.config,
        loaded.configuration.config_watch,
        lambda: load(renewed(arguments), environ),
        take,
        reactor,
        partial(deferToThreadPool, reactor, reactor.getThreadPool()),
        more=any(option.files and option.name in loaded.values for option in own_options()),
    )


def _reactor() -> Any:
    """Find the reactor, which is installed when it is imported: not before twistd has chosen one."""
    from twisted.internet import reactor  # noqa: PLC0415

    # Deadlines must not move when the wall clock is set.
    reactor.seconds = time.monotonic  # type: ignore[method-assign]
    reactor.getThreadPool().threadFactory = PoolThread  # type: ignore[attr-defined]
    return reactor


def _hung_up(top: MultiService, reloading: "Reloading | None", who: str) -> Deferred[bool]:
    """Read again what can be: certificates, and the configuration where this process has it.

    :return: fires with whether what the configuration says holds now.
    """
    # They are not there before what they need is.
    if RANKS in top.namedServices:
        cast("RankServices | Supervisor", top.getServiceNamed(RANKS)).reload(who)
    return succeed(True) if reloading is None else reloading.reload(who)


def _signalled(
    top: MultiService,
    leave: Callable[[int], Any] | None,
    reload: Callable[[str], Any] | None = None,
    stopping: Callable[[str], object] | None = None,
) -> MultiService:
    SignalService(_reactor(), leave, reload, stopping).setServiceParent(top)
    return top


def _serve(
    top: MultiService,
    lives: Mapping[int, LiveConfiguration],
    configurations: IConfigurations,
    seed: int,
    announcer: Announcer,
    trusted: bytes = b"",
) -> None:
    """Add ranks to the services of this process."""
    reactor = _reactor()
    with building():
        from vllmsim.service import rank_services  # noqa: PLC0415
        from vllmsim.structured.door import prepare  # noqa: PLC0415

        ranks = rank_services(lives, configurations, seed, reactor, trusted)
    ranks.setName(RANKS)
    ranks.setServiceParent(top)
    # Scripts that start vLLM wait for these words.
    reactor.callWhenRunning(_log.info, "Application startup complete.")
    reactor.callWhenRunning(announcer.ready, ranks.load)
    reactor.callLater(_SOON, reactor.callInThread, prepare)


def _supervise(
    top: MultiService,
    configuration: Configuration,
    authority: "ConfigurationAuthority",
    seed: int,
    announcer: Announcer,
) -> None:
    """Add what has other processes serve ranks."""
    from vllmsim.processes.supervisor import Supervisor  # noqa: PLC0415

    supervisor = Supervisor(configuration, authority, seed, _reactor(), announcer=announcer)
    supervisor.setName(RANKS)
    supervisor.setServiceParent(top)
