# -*- test-case-name: tests.test_rank -*-
"""One data-parallel rank: everything concrete is named here, in the order of a token's path."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import define, evolve
from twisted.internet.defer import Deferred, DeferredLock

from vllmsim.api.extent import Extent
from vllmsim.assembly.access import Access
from vllmsim.assembly.caching import Events, make_events
from vllmsim.assembly.composing import make_composer
from vllmsim.assembly.doors import Doors
from vllmsim.assembly.failing import make_failures
from vllmsim.assembly.latencies import Times
from vllmsim.assembly.manners import Manners
from vllmsim.assembly.measuring import make_measures
from vllmsim.assembly.queueing import rank_limits
from vllmsim.assembly.remembering import make_journal, make_trace
from vllmsim.assembly.running import make_runner
from vllmsim.assembly.shared import Shared, build_shared
from vllmsim.assembly.speaking import Speaking, learn_speaking
from vllmsim.assembly.surfaces import Surfaces
from vllmsim.assembly.weighing import loads_maker
from vllmsim.clocks.clocks import Clocks
from vllmsim.config.changes import LiveConfigurations
from vllmsim.config.live import LiveConfiguration
from vllmsim.config.loading import Loaded
from vllmsim.config.schema import Configuration
from vllmsim.embedding import WordEmbedder
from vllmsim.failures.injection import FailureInjection
from vllmsim.interfaces import IBlockStore, IConfigurations, IHttpMetrics, ILoads
from vllmsim.journal.journal import Journal
from vllmsim.kvcache.outside.backend import make_store
from vllmsim.metrics.backend import BackendMetrics
from vllmsim.metrics.restarts import RestartMetrics
from vllmsim.metrics.statslog import StatsLog
from vllmsim.models import ModelCatalogue
from vllmsim.randomness import Randomness, derive
from vllmsim.scenario.options import ScenarioOptions
from vllmsim.scenario.player import Scenarios
from vllmsim.scenario.stage import Stage
from vllmsim.scheduling.admission import Admission
from vllmsim.scheduling.backlog import Backlog
from vllmsim.scheduling.control import RankControl
from vllmsim.scheduling.health import RankHealth
from vllmsim.scheduling.lifecycle import RankLifecycle, rank_lifecycle
from vllmsim.scheduling.mediacache import MediaCache
from vllmsim.scheduling.model import Model
from vllmsim.scheduling.pacing import TokenPacer
from vllmsim.scheduling.pooling import RankPooler
from vllmsim.scheduling.prompts import PromptReader
from vllmsim.scheduling.runner import Runner
from vllmsim.scheduling.simulator import RankSimulator
from vllmsim.scheduling.timecontrol import TimeControl
from vllmsim.scheduling.watchdog import PacerWatchdog
from vllmsim.web.middleware.chain import Chain
from vllmsim.web.root import RankResource
from vllmsim.web.site import Limits, Site

if TYPE_CHECKING:
    from vllmsim.appending import AppendedFile
    from vllmsim.assembly.joining import RankGroup

T = TypeVar("T")


@define(eq=False)
class Rank:
    """The parts of one rank, wired."""

    simulator: RankSimulator
    slots: Runner
    pacer: TokenPacer
    watchdog: PacerWatchdog
    lifecycle: RankLifecycle
    health: RankHealth
    backlog: Backlog
    control: RankControl
    failures: FailureInjection
    site: Site
    resource: RankResource
    admin: Site | None
    journal: Journal
    files: "Sequence[AppendedFile[Any]]"
    store: IBlockStore | None
    events: Events | None
    log: StatsLog | None
    loads: Callable[[], ILoads]

    def start(self) -> None:
        """Begin to serve."""
        self.pacer.start()
        self.watchdog.start()
        self.slots.start()
        self.lifecycle.start()
        if self.store is not None:
            self.store.start()
        if self.log is not None:
            self.log.start()

    def stop(self) -> None:
        """Serve no more. What still runs, since nobody waits for it, ends."""
        self.simulator.requests.dismiss()
        if self.log is not None:
            self.log.stop()
        self.slots.stop()
        self.watchdog.stop()
        self.pacer.stop()
        self.lifecycle.stop()
        self.journal.stop()
        if self.events is not None:
            self.events.stop()


def build_rank(
    live: LiveConfiguration,
    number: int,
    seed: int,
    clocks: Clocks,
    defer_to_thread: Callable[..., Deferred[Any]],
    environ: Mapping[str, str] = os.environ,
    *,
    shared: Shared | None = None,
    configurations: IConfigurations | None = None,
    group: "RankGroup | None" = None,
    scenarios: Scenarios | None = None,
    time: TimeControl | None = None,
) -> Rank:
    """Wire the parts of a rank.

    :param live: the configuration, which may change while the rank runs.
    :param number: which rank it is, from 0.
    :param seed: the daemon's seed.
    :param clocks: the time of what is simulated, and that of everything else.
    :param defer_to_thread: runs a function off the reactor.
    :param environ: the environment.
    :param shared: what it has in common with the other ranks of this process, if there are any.
    :param configurations: the configurations of all ranks of the server, this one's among them; if it is the only one,
        they are made.
    :param group: what their ports lead to, if there are any.
    :param scenarios: plays them on all ranks of this process; made if this is the only one.
    :param time: moves the time of all ranks of this process; made if this is the only one.
    """
    c = live.current
    configurations = configurations or LiveConfigurations({number: live}, Loaded(c), clocks.epoch)
    scenarios = scenarios or Scenarios(
        clocks.background, ScenarioOptions(configurations), seed, clocks.epoch, defer_to_thread
    )
    time = time or TimeControl(clocks)
    shared = shared or build_shared(c, clocks, defer_to_thread, environ)
    # Everything here goes by simulated time, unless it says otherwise.
    clock, real = clocks.simulated, clocks.real
    randomness = Randomness(seed)
    names = randomness.generator("names", c.pod_name, c.port, number)

    measures = make_measures(live, number, clocks, shared.datasets.names if shared.datasets else ())
    metrics = measures.rank
    models = ModelCatalogue(c.model, c.served_names)
    for module in c.lora_modules:
        models.add(module.name, module.path, module.base_model_name)
    tokenizer = shared.tokenizer
    times = Times(number, clock, defer_to_thread, randomness)
    manners = Manners(
        (number,) if group is None else group.numbers,
        seed,
        models,
        lambda: f"{names.getrandbits(64):016x}",
        lambda: int(clocks.epoch()),
        randomness.generator("images", number),
        make_composer(c, shared, metrics, defer_to_thread, clocks.standstill),
        times.latency,
    )
    behaviour = live.follow(manners.behaviour)
    settings = live.follow(lambda configuration: manners.settings(configuration, behaviour()))

    lifecycle = rank_lifecycle(clocks.background, c.startup_duration)
    health = RankHealth(lifecycle)
    # A tick of the pacer is an iteration, unless there are steps.
    pacer = TokenPacer(clock, _nothing if c.steps else metrics.iteration_finished)
    events = make_events(c, number, clocks, metrics.cache, defer_to_thread, randomness)
    store = make_store(c, partial(BackendMetrics, metrics.own), derive(seed, "backend", number).random, real)
    trace = make_trace(c, number, clocks, defer_to_thread, lambda: cache.blocks, pacer)
    model = Model(clock, tokenizer, pacer, metrics, measures.adapters, trace)
    taken_on = live.follow(rank_limits)
    cache, slots, running = make_runner(
        live,
        number,
        seed,
        model,
        taken_on,
        models=models,
        metrics=metrics,
        events=events,
        store=store,
        step_time=times.step_time,
        randomness=randomness,
    )
    admission = Admission(
        clock,
        tokenizer,
        c.max_model_len,
        c.max_logprobs,
        MediaCache(metrics, c.mm_processor_cache_gb),
        c.max_n_sequences,
    )
    backlog = Backlog(taken_on, metrics)
    simulator = RankSimulator(
        clock,
        lifecycle,
        admission,
        cache,
        backlog,
        slots,
        running,
        metrics,
        behaviour,
        randomness.number("rank", number),
        trace,
        clocks.standstill,
    )
    randomness.feed(simulator.reseed, "rank", number)
    control = RankControl(simulator, pacer, cache, metrics, c.enable_sleep_mode, store, admission.media)

    # What pooling computes may take long. Threads that compute at the same time are no faster, and the reactor's thread
    # would wait for each of them at each system call.
    in_turn = partial(DeferredLock().run, defer_to_thread)
    pooler = RankPooler(
        clock,
        lifecycle,
        simulator.requests,
        lambda: simulator.paused,
        PromptReader(clock, tokenizer, c.max_model_len),
        WordEmbedder(in_turn),
        behaviour,
        taken_on,
        randomness.number("pooler", number),
        clocks.standstill,
    )
    live.watch(lambda _before, _now: pooler.fill())
    randomness.feed(pooler.reseed, "pooler", number)

    failures = make_failures(live, number, clock, defer_to_thread, randomness, measures)
    journal, request_log = make_journal(
        live,
        number,
        clocks,
        defer_to_thread,
        shared.tracing,
        lambda: resource.working() | (speaking.working() if speaking else frozenset()),
    )

    sources = dict if events is None else events.sources
    own = Doors(
        simulator,
        pooler,
        control,
        models,
        health,
        sources,
        dict if events is None else events.logs,
        measures.shown,
        loads_maker(c, number, clock, simulator.load, backlog, taken_on, metrics, pacer),
    )
    doors = own if group is None else group.join(number, own, models, simulator.load, behaviour)
    time.enlist(lambda: journal.number, lambda: len(simulator.requests))
    scenarios.enlist(Stage(number, live, randomness.begin, cache, models, models, health, control, journal))
    surfaces = Surfaces(
        live=live,
        configurations=configurations,
        scenarios=scenarios,
        number=number,
        seed=seed,
        settings=settings,
        models=models,
        tokenizer=tokenizer,
        clocks=clocks,
        defer_to_thread=defer_to_thread,
        in_turn=in_turn,
        environ=environ,
        doors=doors,
        admission=admission,
        failures=failures,
        journal=journal,
        exposition=measures.page(doors.metrics).write,
        time=time,
    )
    resource = surfaces.resource()
    make_site = partial(
        _make_site,
        live,
        clocks,
        measures.http,
        live.follow(Access(number, shared.accounts, clock, clocks.epoch, defer_to_thread, randomness).chain),
    )
    admin_resource = surfaces.admin_resource()
    speaking = learn_speaking(c, surfaces, defer_to_thread)
    return Rank(
        simulator,
        slots,
        pacer,
        PacerWatchdog(real, pacer, RestartMetrics(metrics.own).pacer_restarted),
        lifecycle,
        health,
        backlog,
        control,
        failures,
        make_site(resource, journal, speaking),
        resource,
        None if admin_resource is None else make_site(admin_resource, None, learn_speaking(c, None, defer_to_thread)),
        journal,
        [*([] if request_log is None else [request_log]), *([] if trace is None else [trace.file])],
        store,
        events,
        measures.log,
        doors.loads,
    )


def _nothing() -> None:
    """Do nothing."""


def _make_site(
    live: LiveConfiguration,
    clocks: Clocks,
    metrics: IHttpMetrics,
    chain: Callable[[], Chain],
    resource: RankResource,
    journal: Journal | None,
    http2: Speaking | None,
) -> Site:
    c = live.current
    site = Site(
        resource,
        clocks.real,
        metrics,
        Limits(
            c.h11_max_incomplete_event_size,
            c.h11_max_header_count,
            c.max_request_body_size_mb << 20,
            c.timeout_keep_alive,
            c.send_timeout,
            Extent(c.max_json_depth, c.max_json_items),
            c.receive_timeout,
        ),
        chain=chain(),
        root_path=c.root_path,
        journal=journal,
        seconds=clocks.simulated.seconds,
    )
    site.http2 = http2

    def adapt(_: Configuration, now: Configuration) -> None:
        extent = Extent(now.max_json_depth, now.max_json_items)
        site.limits = evolve(site.limits, body_bytes=now.max_request_body_size_mb << 20, extent=extent)
        site.chain = chain()

    live.watch(adapt)
    return site
