# -*- test-case-name: tests.test_rank -*-
"""One data-parallel rank: everything concrete is named here, in the order of a token's path."""

import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import define
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime

from vllmsim.api.dialect import Settings
from vllmsim.api.toolcalls import Tooling
from vllmsim.api.transfer import PrefillSource
from vllmsim.caching import make_cache, make_events
from vllmsim.composing.composer import Composer
from vllmsim.config.changes import LiveConfigurations
from vllmsim.config.live import LiveConfiguration
from vllmsim.config.loading import Loaded
from vllmsim.config.schema import Configuration
from vllmsim.embedding import WordEmbedder
from vllmsim.identity import engine_id, fingerprint, side_channel
from vllmsim.interfaces import IBlockStore, IConfigurations
from vllmsim.kvcache.outside.backend import make_store
from vllmsim.latency import LatencyModel
from vllmsim.measuring import make_measures
from vllmsim.metrics.backend import BackendMetrics
from vllmsim.metrics.statslog import StatsLog
from vllmsim.models import ModelCatalogue
from vllmsim.omni import ImageEmission
from vllmsim.randomness import Randomness, derive
from vllmsim.scheduling.admission import Admission
from vllmsim.scheduling.backlog import Backlog
from vllmsim.scheduling.behaviour import Behaviour
from vllmsim.scheduling.control import RankControl
from vllmsim.scheduling.generation import Model, generate
from vllmsim.scheduling.health import RankHealth
from vllmsim.scheduling.lifecycle import RankLifecycle, rank_lifecycle
from vllmsim.scheduling.pacing import TokenPacer
from vllmsim.scheduling.pooling import RankPooler
from vllmsim.scheduling.prompts import PromptReader
from vllmsim.scheduling.simulator import RankSimulator
from vllmsim.scheduling.slots import SequenceSlots
from vllmsim.scheduling.waiting import WaitingQueue
from vllmsim.shared import Shared, build_shared
from vllmsim.structured.values import Ranges
from vllmsim.surfaces import Surfaces
from vllmsim.web.cors import Cors
from vllmsim.web.root import RankResource
from vllmsim.web.site import Limits, Site

if TYPE_CHECKING:
    from vllmsim.kvcache.events.batching import EventBatcher
    from vllmsim.kvcache.events.sockets import EventSockets

T = TypeVar("T")


@define(eq=False)
class Rank:
    """The parts of one rank, wired."""

    simulator: RankSimulator
    slots: SequenceSlots
    pacer: TokenPacer
    lifecycle: RankLifecycle
    health: RankHealth
    backlog: Backlog
    control: RankControl
    site: Site
    resource: RankResource
    admin: Site | None
    store: IBlockStore | None
    batcher: "EventBatcher | None"
    sockets: "EventSockets | None"
    log: StatsLog | None

    def start(self) -> None:
        """Begin to serve."""
        self.pacer.start()
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
        self.pacer.stop()
        self.lifecycle.stop()
        if self.batcher is not None:
            self.batcher.flush()


def build_rank(
    live: LiveConfiguration,
    number: int,
    seed: int,
    clock: IReactorTime,
    defer_to_thread: Callable[..., Deferred[Any]],
    epoch: Callable[[], float] = time.time,
    environ: Mapping[str, str] = os.environ,
    *,
    shared: Shared | None = None,
    configurations: IConfigurations | None = None,
) -> Rank:
    """Wire the parts of a rank.

    :param live: the configuration, which may change while the rank runs.
    :param number: which rank it is, from 0.
    :param seed: the daemon's seed.
    :param defer_to_thread: runs a function off the reactor.
    :param epoch: tells seconds since the epoch.
    :param environ: the environment.
    :param shared: what it has in common with the other ranks of this process, if there are any.
    :param configurations: the configurations of all ranks of the server, this one's among them; if it is the only one,
        they are made.
    """
    c = live.current
    if configurations is None:
        configurations = LiveConfigurations({number: live}, Loaded(c), epoch)
    if shared is None:
        shared = build_shared(c, clock, defer_to_thread, environ)
    randomness = Randomness(seed)
    names = randomness.generator("names", c.pod_name, c.port, number)

    def new_id() -> str:
        return f"{names.getrandbits(64):016x}"

    def now() -> int:
        return int(epoch())

    datasets = shared.datasets
    measures = make_measures(live, number, clock, epoch, datasets.names if datasets else ())
    metrics = measures.rank
    models = ModelCatalogue(c.model, c.served_names)
    for module in c.lora_modules:
        models.add(module.name, module.path, module.base_model_name)
    settings = Settings(
        models=models,
        new_id=new_id,
        now=now,
        fingerprint=fingerprint(c),
        response_role=c.response_role,
        stream_interval=c.stream_interval,
        tokens_as_ids=c.return_tokens_as_token_ids,
        prompt_tokens_details=c.enable_prompt_tokens_details,
        force_include_usage=c.enable_force_include_usage,
        data_parallel_size=c.data_parallel_size,
        tooling=Tooling(c.tool_call_parser, c.enable_auto_tool_choice, not c.skip_tool_validation),
        reasons=bool(c.reasoning_parser),
        multimodal=not c.language_model_only,
        encoder_only=c.mm_encoder_only,
        trusts_templates=c.trust_request_chat_template,
        wants_image=ImageEmission(c, randomness.generator("images", number)),
        remote=PrefillSource(
            engine_id(c, seed, number),
            *side_channel(c, number),
            block_size=c.block_size,
            tensor_parallel_size=max(1, c.tensor_parallel_size),
            patience=c.nixl_abort_request_timeout,
        ),
        block_size=c.block_size if c.caches_prefixes else None,
    )
    tokenizer = shared.tokenizer
    composer = Composer(
        source=datasets.answers(shared.source, tokenizer, metrics) if datasets else shared.source,
        thoughts=shared.sentences,
        tokenizer=tokenizer,
        defer_to_thread=defer_to_thread,
        ranges=_ranges(c),
        extra_calls=c.tool_call_extra_call_probability / 100,
        reasoning_share=c.reasoning_share / 100 if c.reasoning_parser else 0.0,
    )

    lifecycle = rank_lifecycle(clock, c.startup_duration)
    health = RankHealth(lifecycle)
    pacer = TokenPacer(clock, metrics.iteration_finished)
    events = make_events(c, number, clock, epoch, metrics.cache, defer_to_thread)
    batcher, sockets = events or (None, None)
    listeners = () if batcher is None else (batcher,)
    store = make_store(c, partial(BackendMetrics, metrics.own), derive(seed, "backend", number).random, clock)
    cache = make_cache(c, number, seed, clock, metrics.cache, models, listeners, store)
    model = Model(
        clock,
        tokenizer,
        composer,
        cache,
        pacer,
        metrics,
        lambda: slots.running - cache.waiting,
    )
    waiting = WaitingQueue(c.max_waiting_queue_length)
    slots = SequenceSlots(clock, waiting, c.max_num_seqs, partial(generate, model), metrics)
    admission = Admission(clock, tokenizer, c.max_model_len, c.max_logprobs)
    backlog = Backlog(c.max_num_queued_reqs, c.max_num_queued_tokens, metrics)
    behaviour = live.follow(_behaviour)
    own_seed = randomness.number("rank", number)
    simulator = RankSimulator(clock, lifecycle, admission, cache, backlog, slots, metrics, behaviour, own_seed)
    randomness.feed(simulator.reseed, "rank", number)
    control = RankControl(simulator, pacer, cache, metrics, c.enable_sleep_mode, store)

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
        c.max_num_seqs,
        c.max_waiting_queue_length,
        randomness.number("pooler", number),
    )
    randomness.feed(pooler.reseed, "pooler", number)

    surfaces = Surfaces(
        live=live,
        configurations=configurations,
        number=number,
        seed=seed,
        settings=settings,
        models=models,
        tokenizer=tokenizer,
        clock=clock,
        defer_to_thread=defer_to_thread,
        in_turn=in_turn,
        environ=environ,
        health=health,
        simulator=simulator,
        pooler=pooler,
        admission=admission,
        control=control,
        exposition=measures.page.write,
        event_sources=dict if sockets is None else sockets.sources,
    )
    resource = surfaces.resource()
    limits = Limits(
        c.h11_max_incomplete_event_size,
        c.h11_max_header_count,
        c.max_request_body_size_mb << 20,
        c.timeout_keep_alive,
        c.send_timeout,
    )
    cors = Cors(c.allowed_origins, c.allowed_methods, c.allowed_headers, c.allow_credentials)
    make_site = partial(
        Site, clock=clock, metrics=measures.http, limits=limits, request_ids=c.enable_request_id_headers, cors=cors
    )
    admin_resource = surfaces.admin_resource()
    return Rank(
        simulator,
        slots,
        pacer,
        lifecycle,
        health,
        backlog,
        control,
        make_site(resource),
        resource,
        None if admin_resource is None else make_site(admin_resource),
        store,
        batcher,
        sockets,
        measures.log,
    )


def _behaviour(c: Configuration) -> Behaviour:
    return Behaviour(LatencyModel(c), c.global_cache_hit_threshold if c.caches_prefixes else None)


def _ranges(c: Configuration) -> Ranges:
    return Ranges(
        integer_least=c.min_tool_call_integer_param,
        integer_most=c.max_tool_call_integer_param,
        number_least=c.min_tool_call_number_param,
        number_most=c.max_tool_call_number_param,
        array_least=c.min_tool_call_array_param_length,
        array_most=c.max_tool_call_array_param_length,
        optional_probability=c.tool_call_not_required_param_probability / 100,
        optional_field_probability=c.object_tool_call_not_required_field_probability / 100,
    )
