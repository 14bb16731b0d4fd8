# -*- test-case-name: tests.test_rank -*-
"""One data-parallel rank: everything concrete is named here, in the order of a token's path."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar

from attrs import define
from klein import Klein
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime

from vllmsim import VLLM_VERSION
from vllmsim.api.batch import BatchDialect
from vllmsim.api.chat import ChatDialect
from vllmsim.api.cohere import CohereDialect
from vllmsim.api.completions import CompletionDialect
from vllmsim.api.derender import ChatDerenderer, CompletionDerenderer
from vllmsim.api.dialect import Settings
from vllmsim.api.embeddings import EmbeddingDialect
from vllmsim.api.generate import GenerateDialect
from vllmsim.api.given import Bounds
from vllmsim.api.inputs import PoolingSettings
from vllmsim.api.labelscores import LabelScoreDialect
from vllmsim.api.messages import CountDialect, MessagesDialect
from vllmsim.api.models import ModelList
from vllmsim.api.openapi import openapi_document
from vllmsim.api.pooling import ClassificationDialect, PoolingTaskDialect
from vllmsim.api.renderers import ChatRenderer, CompletionRenderer, MessagesRenderer, ResponsesRenderer
from vllmsim.api.responses import ResponsesDialect
from vllmsim.api.responsestore import ResponseStore
from vllmsim.api.scoring import RerankDialect, ScoreDialect
from vllmsim.api.tokenreading import Words
from vllmsim.api.tokens import TokenDialect
from vllmsim.api.toolcalls import Tooling
from vllmsim.api.transfer import PrefillSource
from vllmsim.composing.composer import Composer
from vllmsim.config.schema import Configuration
from vllmsim.dataset.echo import EchoSource
from vllmsim.dataset.encoder import EncoderSource
from vllmsim.dataset.sentences import SentenceSource
from vllmsim.embedding import WordEmbedder
from vllmsim.identity import engine_id, fingerprint, signature
from vllmsim.interfaces import IAdmission, IRankControl, IResponseSource, ITokenizer
from vllmsim.latency import LatencyModel
from vllmsim.metrics.cacheconfig import cache_config_labels
from vllmsim.metrics.families import RankMetrics
from vllmsim.metrics.http import HttpMetrics
from vllmsim.models import ModelCatalogue
from vllmsim.omni import ImageEmission
from vllmsim.randomness import derive
from vllmsim.scheduling.admission import Admission
from vllmsim.scheduling.backlog import Backlog
from vllmsim.scheduling.control import RankControl
from vllmsim.scheduling.generation import Model, generate
from vllmsim.scheduling.lifecycle import RankLifecycle, rank_lifecycle
from vllmsim.scheduling.pacing import TokenPacer
from vllmsim.scheduling.pooling import RankPooler
from vllmsim.scheduling.prompts import PromptReader
from vllmsim.scheduling.simulator import RankSimulator
from vllmsim.scheduling.slots import SequenceSlots
from vllmsim.scheduling.waiting import WaitingQueue
from vllmsim.serverinfo import describe_configuration, describe_environment, describe_system
from vllmsim.structured.values import Ranges
from vllmsim.tokenization.words import WordTokenizer
from vllmsim.web.adapters import AdapterRoutes
from vllmsim.web.answering import Answering
from vllmsim.web.control import AbortRoutes, ControlRoutes
from vllmsim.web.cors import Cors
from vllmsim.web.development import DevelopmentRoutes
from vllmsim.web.disaggregation import DerenderRoutes, GenerateRoutes, RenderRoutes
from vllmsim.web.documentation import DocumentationRoutes
from vllmsim.web.exposition import ExpositionRoutes
from vllmsim.web.inference import InferenceRoutes
from vllmsim.web.invocations import InvocationRoutes, Surface
from vllmsim.web.labelscores import LabelScoreRoutes
from vllmsim.web.operations import OperationRoutes
from vllmsim.web.pooling import PoolingRoutes
from vllmsim.web.profiling import ProfilingRoutes
from vllmsim.web.responses import ResponseRoutes
from vllmsim.web.root import RankResource
from vllmsim.web.scaleout import ScaleOutAbortRoutes, ScaleOutGate
from vllmsim.web.scaling import ScalingRoutes
from vllmsim.web.site import Limits, Site
from vllmsim.web.tokens import CountRoutes, TokenizerRoutes, TokenRoutes

T = TypeVar("T")


@define(eq=False)
class Rank:
    """The parts of one rank, wired."""

    simulator: RankSimulator
    slots: SequenceSlots
    pacer: TokenPacer
    lifecycle: RankLifecycle
    backlog: Backlog
    control: RankControl
    site: Site
    resource: RankResource

    def start(self) -> None:
        """Begin to serve."""
        self.pacer.start()
        self.slots.start()
        self.lifecycle.start()

    def stop(self) -> None:
        """Serve no more. What still runs, since nobody waits for it, ends."""
        self.simulator.requests.dismiss()
        self.slots.stop()
        self.pacer.stop()
        self.lifecycle.stop()


def build_rank(
    configuration: Configuration,
    number: int,
    seed: int,
    clock: IReactorTime,
    defer_to_thread: Callable[..., Deferred[Any]],
    epoch: Callable[[], float] = time.time,
    environ: Mapping[str, str] = os.environ,
) -> Rank:
    """Wire the parts of a rank.

    :param number: which rank it is, from 0.
    :param seed: the daemon's seed.
    :param defer_to_thread: runs a function off the reactor.
    :param epoch: tells seconds since the epoch.
    :param environ: the environment.
    """
    c = configuration
    names = derive(seed, "names", c.pod_name, c.port, number)

    def new_id() -> str:
        return f"{names.getrandbits(64):016x}"

    def now() -> int:
        return int(epoch())

    metrics = RankMetrics(str(number), c.served_names[0], c.max_model_len, cache_config_labels(c), epoch())
    http = HttpMetrics(epoch())
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
        wants_image=ImageEmission(c, derive(seed, "images", number)),
        remote=PrefillSource(
            engine_id(c, seed, number),
            block_size=c.block_size,
            tensor_parallel_size=max(1, c.tensor_parallel_size),
        ),
    )
    tokenizer: ITokenizer = WordTokenizer(defer_to_thread)
    composer = Composer(
        source=_source(c, tokenizer),
        thoughts=SentenceSource(tokenizer),
        tokenizer=tokenizer,
        defer_to_thread=defer_to_thread,
        ranges=_ranges(c),
        extra_calls=c.tool_call_extra_call_probability / 100,
        reasoning_share=c.reasoning_share / 100 if c.reasoning_parser else 0.0,
    )

    lifecycle = rank_lifecycle(clock, c.startup_duration)
    pacer = TokenPacer(clock, metrics.iteration_finished)
    latency = LatencyModel(c)
    model = Model(clock, tokenizer, composer, latency, pacer, metrics, lambda: slots.running)
    waiting = WaitingQueue(c.max_waiting_queue_length)
    slots = SequenceSlots(clock, waiting, c.max_num_seqs, partial(generate, model), metrics)
    admission = Admission(clock, tokenizer, c.max_model_len, c.max_logprobs)
    backlog = Backlog(c.max_num_queued_reqs, c.max_num_queued_tokens, metrics)
    own_seed = derive(seed, "rank", number).getrandbits(63)
    simulator = RankSimulator(clock, lifecycle, admission, backlog, slots, metrics, own_seed)
    control = RankControl(simulator, slots, pacer, metrics, c.enable_sleep_mode)

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
        latency,
        c.max_num_seqs,
        c.max_waiting_queue_length,
        derive(seed, "pooler", number).getrandbits(63),
    )

    answering = Answering(simulator, signature(c, number), defer_to_thread)
    chat, completions = ChatDialect(settings), CompletionDialect(settings)
    tokens = TokenDialect(models, c.max_model_len)
    scores = LabelScoreDialect(settings, c.max_model_len, tokenizer.vocabulary_size)
    gate = ScaleOutGate(c.enable_scale_out or c.tokens_only)
    generating = [
        InferenceRoutes(answering, chat, completions, MessagesDialect(settings), BatchDialect(settings)).app,
        _response_routes(c, answering, settings, clock).app,
        CountRoutes(CountDialect(settings), tokenizer).app,
        LabelScoreRoutes(clock, answering, scores, tokenizer).app,
        *_disaggregation(c, settings, gate, answering, admission, tokenizer, defer_to_thread),
        ScaleOutAbortRoutes(gate, control).app,
    ]
    pooled = PoolingSettings(settings, c.max_model_len, c.default_embedding_dimensions)
    pooling = _pooling_routes(pooler, pooled, signature(c, number), in_turn)
    common = [
        _invocations(c, answering, (chat, completions), pooling, pooled).app,
        TokenRoutes(tokens, tokenizer).app,
        *([TokenizerRoutes(tokens, tokenizer).app] if c.enable_tokenizer_info_endpoint else []),
        OperationRoutes(
            ModelList(models, c.max_model_len, new_id, now),
            lifecycle.ready,
            control.in_flight if c.enable_server_load_tracking else lambda: 0,
            {rank: engine_id(c, seed, rank) for rank in range(c.data_parallel_size)},
            {},
        ).app,
        ExpositionRoutes(_registry(metrics, http)).app,
        AdapterRoutes(models).app,
        ScalingRoutes(c.data_parallel_size).app,
        *_development(c, control, environ, defer_to_thread),
    ]
    resource = RankResource(_chosen(c, generating, [pooling.app]) + common)
    if not c.disable_fastapi_docs:
        resource.add(_documentation(c, resource, defer_to_thread))
    limits = Limits(
        c.h11_max_incomplete_event_size, c.h11_max_header_count, c.max_request_body_size_mb << 20, c.timeout_keep_alive
    )
    cors = Cors(c.allowed_origins, c.allowed_methods, c.allowed_headers, c.allow_credentials)
    site = Site(resource, clock, http, limits, request_ids=c.enable_request_id_headers, cors=cors)
    return Rank(simulator, slots, pacer, lifecycle, backlog, control, site, resource)


def _documentation(c: Configuration, resource: RankResource, defer_to_thread: Callable[..., Deferred[Any]]) -> Klein:
    def write() -> bytes:
        title = f"vLLM {VLLM_VERSION}, simulated"
        return openapi_document(title, VLLM_VERSION, c.served_names[0], resource.operations())

    return DocumentationRoutes(write, defer_to_thread).app


def _chosen(c: Configuration, generating: list[T], pooling: list[T]) -> list[T]:
    """Choose what this server has of what a vLLM has depending on its runner."""
    if c.runner == "pooling":
        return pooling
    # A vLLM that only encodes media is one that generates.
    return generating + (pooling if c.runner == "auto" and not c.mm_encoder_only else [])


def _invocations(
    c: Configuration,
    answering: Answering,
    generating: tuple[ChatDialect, CompletionDialect],
    pooling: PoolingRoutes,
    pooled: PoolingSettings,
) -> InvocationRoutes:
    chat, completions = generating
    completion = Surface(frozenset({"prompt"}), completions.parse, answering.answer)
    embedding = Surface(frozenset({"input", "messages"}), EmbeddingDialect(pooled).parse, pooling.answer)
    surfaces = _chosen(
        c,
        [Surface(frozenset({"messages"}), chat.parse, answering.answer), completion],
        [
            embedding,
            Surface(frozenset({"queries", "data_1", "text_1"}), ScoreDialect(pooled).parse, pooling.answer),
            Surface(frozenset({"documents"}), RerankDialect(pooled).parse, pooling.answer),
        ],
    )
    return InvocationRoutes(answering, tuple(surfaces), embedding if c.runner == "pooling" else completion)


def _response_routes(c: Configuration, answering: Answering, settings: Settings, clock: IReactorTime) -> ResponseRoutes:
    store = ResponseStore(c.max_stored_responses if c.enable_responses_store else 0)
    return ResponseRoutes(answering, ResponsesDialect(settings, c.max_model_len, store), store, clock)


def _pooling_routes(
    pooler: RankPooler,
    settings: PoolingSettings,
    signature: Mapping[str, str],
    defer_to_thread: Callable[..., Deferred[Any]],
) -> PoolingRoutes:
    return PoolingRoutes(
        pooler,
        EmbeddingDialect(settings),
        CohereDialect(settings),
        PoolingTaskDialect(settings),
        ClassificationDialect(settings),
        ScoreDialect(settings),
        RerankDialect(settings),
        signature,
        defer_to_thread,
    )


def _disaggregation(
    c: Configuration,
    settings: Settings,
    gate: ScaleOutGate,
    answering: Answering,
    admission: IAdmission,
    tokenizer: ITokenizer,
    defer_to_thread: Callable[..., Deferred[Any]],
) -> Iterator[Klein]:
    """Make the routes for servers that share the work of an answer."""
    words, bounds = Words(tokenizer, c.return_tokens_as_token_ids), Bounds(c.max_model_len, c.max_logprobs)
    yield GenerateRoutes(gate, answering, GenerateDialect(settings, c.max_model_len)).app
    yield RenderRoutes(
        gate,
        answering,
        admission,
        ChatRenderer(settings),
        CompletionRenderer(settings),
        MessagesRenderer(settings),
        ResponsesRenderer(settings, c.max_model_len),
    ).app
    yield DerenderRoutes(
        gate,
        answering,
        ChatDerenderer(settings, words, bounds),
        CompletionDerenderer(settings, words, bounds),
        defer_to_thread,
    ).app


def _development(
    c: Configuration, control: IRankControl, environ: Mapping[str, str], defer_to_thread: Callable[..., Deferred[Any]]
) -> Iterator[Klein]:
    """Make the routes that a vLLM has only when it is asked to."""
    if c.server_dev_mode or c.tokens_only:
        yield AbortRoutes(control).app
    if c.profiler_config:
        yield ProfilingRoutes().app
    if c.server_dev_mode:
        yield ControlRoutes(control).app
        yield DevelopmentRoutes(
            control,
            max(1, c.tensor_parallel_size) * c.pipeline_parallel_size,
            c.data_parallel_size,
            describe_configuration(c),
            describe_environment(environ),
            partial(defer_to_thread, describe_system),
        ).app


def _source(c: Configuration, tokenizer: ITokenizer) -> IResponseSource:
    if c.mm_encoder_only:
        return EncoderSource(tokenizer)
    return EchoSource(tokenizer) if c.mode == "echo" else SentenceSource(tokenizer)


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


def _registry(metrics: RankMetrics, http: HttpMetrics) -> CollectorRegistry:
    """Collect what one rank exposes, in vLLM's order: the process, the engine, the server."""
    registry = CollectorRegistry(auto_describe=True)
    GCCollector(registry)
    PlatformCollector(registry)
    ProcessCollector(registry=registry)
    registry.register(metrics)
    registry.register(http)
    return registry
