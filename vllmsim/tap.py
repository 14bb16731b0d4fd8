# -*- test-case-name: tests.test_tap -*-
"""The ``twistd vllmsim`` command: from words on a command line to a tree of services."""

import gc
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from attrs import evolve
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python import usage

from vllmsim import __version__
from vllmsim.announcing import Announcer
from vllmsim.config.arguments import Arguments, Problem, scan
from vllmsim.config.changes import LiveConfigurations
from vllmsim.config.listing import help_text, print_config
from vllmsim.config.live import LiveConfiguration
from vllmsim.config.loading import ConfigurationError, Loaded, load
from vllmsim.config.plugins import has_plugins
from vllmsim.config.schema import Configuration
from vllmsim.interfaces import IConfigurations
from vllmsim.logs.destination import Destination, LoggedServices
from vllmsim.logs.opening import name_doubts
from vllmsim.randomness import fresh_seed
from vllmsim.stopping import SignalService

if TYPE_CHECKING:
    from vllmsim.processes.authority import ConfigurationAuthority
    from vllmsim.processes.supervisor import Supervisor
    from vllmsim.reloading import Reloading
    from vllmsim.service import RankServices

_log = Logger()

_SWITCH: Final = 0.0005
"""Seconds that one thread computes while another wants to; Python's own is ten times as long."""
RANKS: Final = "ranks"
"""What the service is called that serves ranks, or has them served."""
_SOON: Final = 1.0
"""Seconds after the start when there is time for what the first requests may not need."""
_MORE_THAN_FREED: Final = 10_000
"""How many objects are made beyond those that are freed before the young ones are looked through for garbage."""


class Options(usage.Options):
    """The command line, read by our own rules: see :mod:`vllmsim.config.arguments`."""

    arguments: Arguments
    loaded: Loaded

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Read the words, the file and the environment; print and exit where that is asked for.

        :raises SystemExit: with status 1 and every problem, when the configuration is wrong.
        """
        self.arguments = arguments = scan(sys.argv[1:] if options is None else options)
        if "help" in arguments.requests:
            _print(help_text(arguments.topic))
        if "version" in arguments.requests:
            _print(f"vllmsim {__version__}\n")
        if "help-plugins" in arguments.requests:
            from vllmsim.plugins.listing import plugins_text  # noqa: PLC0415 - it imports all that there is

            _print(plugins_text())
        try:
            self.loaded = load(arguments, os.environ)
            _require_plugins(self.loaded)
        except ConfigurationError as error:
            sys.stderr.write(f"vllmsim: {error}\n")
            raise SystemExit(1) from None
        if "print-config" in arguments.requests:
            _print(print_config(self.loaded))
        if "check-config" in arguments.requests:
            _print("")

    def __str__(self) -> str:
        return help_text()


def _require_plugins(loaded: Loaded) -> None:
    """Make sure that there are the plugins that a configuration names.

    :raises ConfigurationError: when there are not.
    """
    if has_plugins(loaded.configuration):
        from vllmsim.plugins.naming import missing_plugins  # noqa: PLC0415 - few servers have plugins

        faults = missing_plugins(loaded.configuration)
        problems = [Problem(name, fault, loaded.values[name][1], name) for name, fault in faults]
        if problems:
            raise ConfigurationError(problems)


def _print(text: str) -> NoReturn:
    sys.stdout.write(text)
    raise SystemExit(0)


def makeService(options: Options) -> MultiService:
    """Build the daemon.

    :raises vllmsim.listening.StartError: when it cannot listen.
    :raises SystemExit: when something else that is asked for cannot be; the message says why.
    """
    configuration = options.loaded.configuration
    if configuration.otlp_traces_endpoint:
        _require_tracing(configuration.otlp_traces_endpoint)
    seed = configuration.seed
    if seed is None:
        seed = fresh_seed()
        _log.info("The seed is {seed}.", seed=seed)
    running = evolve(configuration, seed=seed)
    lives = {number: LiveConfiguration(running) for number in configuration.ranks}
    configurations = LiveConfigurations(lives, options.loaded, time.time, _try)
    announcer = _announcer(configuration)
    build = partial(_serve, lives=lives, configurations=configurations, seed=seed, announcer=announcer)
    take = configurations.reload
    if configuration.data_parallel_processes:
        authority = _authority(configurations)
        build = partial(_supervise, configuration=configuration, authority=authority, seed=seed, announcer=announcer)
        take = authority.reload
    observer = Destination(getattr(options, "parent", None) or {}, os.environ).observer(
        configuration.log_format, lives.values()
    )
    top = LoggedServices(observer, partial(name_doubts, options.loaded, os.environ))
    _prepare(top, configuration, build, announcer)
    announcer.join(top)
    reloading = _reloading(options, take)
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


def _announcer(configuration: Configuration) -> Announcer:
    """Find who is told how the daemon is."""
    if "NOTIFY_SOCKET" not in os.environ:
        return Announcer()
    from vllmsim.systemd.notifying import announcer  # noqa: PLC0415 - most servers are no services of systemd's

    return announcer(os.environ, configuration, _reactor())


def _prepare(
    top: MultiService, configuration: Configuration, build: Callable[[MultiService], None], announcer: Announcer
) -> None:
    """Build a daemon, after what is missing is there if something is."""
    from vllmsim.preparing import Preparation, get, needs  # noqa: PLC0415

    try:
        needed = needs(configuration, os.environ)
    except ValueError as error:
        raise SystemExit(f"vllmsim: cannot start: {error}") from error
    if needed:
        announcer.preparing(str(needed))
        reactor = _reactor()
        Preparation(partial(get, needed, configuration, os.environ, reactor), build, reactor).setServiceParent(top)
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


def _require_tracing(endpoint: str) -> None:
    """Make sure that traces can be sent, before this becomes a daemon."""
    from vllmsim.tracing.collector import choose, require  # noqa: PLC0415

    require(choose(endpoint, os.environ))


def _authority(configurations: LiveConfigurations) -> "ConfigurationAuthority":
    from vllmsim.processes.authority import ConfigurationAuthority  # noqa: PLC0415

    return ConfigurationAuthority(configurations, _reactor())


def _reloading(options: Options, take: Callable[[Loaded, str], Awaitable[None]]) -> "Reloading":
    """Make what reads the configuration again."""
    from twisted.internet.threads import deferToThreadPool  # noqa: PLC0415

    from vllmsim.reloading import Reloading  # noqa: PLC0415

    reactor, path = _reactor(), options.arguments.config
    # A daemon may leave the folder that it was started in.
    arguments = evolve(options.arguments, config=path and os.path.abspath(path))  # noqa: PTH100
    return Reloading(
        arguments.config,
        options.loaded.configuration.config_watch,
        partial(load, arguments, os.environ),
        take,
        reactor,
        partial(deferToThreadPool, reactor, reactor.getThreadPool()),
    )


def _reactor() -> Any:
    """Find the reactor, which is installed when it is imported: not before twistd has chosen one."""
    from twisted.internet import reactor  # noqa: PLC0415

    # Deadlines must not move when the wall clock is set.
    reactor.seconds = time.monotonic  # type: ignore[method-assign]
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
    # What is made from here on stays: looking for garbage among it would take a fifth of the start.
    gc.disable()
    reactor = _reactor()
    # It installs a reactor too.
    from vllmsim.service import rank_services  # noqa: PLC0415
    from vllmsim.structured.door import prepare  # noqa: PLC0415

    ranks = rank_services(lives, configurations, seed, reactor, trusted)
    ranks.setName(RANKS)
    ranks.setServiceParent(top)
    gc.freeze()
    # Looking for garbage among thousands of streams takes longer than the gaps between their tokens.
    gc.set_threshold(_MORE_THAN_FREED, 20, 100)
    gc.enable()
    # A thread that cuts a long prompt lets the reactor go on this soon at each of its system calls.
    sys.setswitchinterval(_SWITCH)
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
    # It installs a reactor too.
    from vllmsim.processes.supervisor import Supervisor  # noqa: PLC0415

    supervisor = Supervisor(configuration, authority, seed, _reactor(), announcer=announcer)
    supervisor.setName(RANKS)
    supervisor.setServiceParent(top)
