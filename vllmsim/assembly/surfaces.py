# -*- test-case-name: tests.assembly.test_surfaces -*-
"""Every route of a rank: each dialect and each module of routes is named here once.

Which of them there are depends on the runner, as in vLLM, and on what the operator has closed.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar

from attrs import define, field
from klein import Klein
from twisted.internet.defer import Deferred, succeed

from vllmsim import VLLM_VERSION
from vllmsim.adapters import has_adapter
from vllmsim.api.batch import BatchDialect
from vllmsim.api.chat import ChatDialect
from vllmsim.api.completions import CompletionDialect
from vllmsim.api.dialect import Settings
from vllmsim.api.labelscores import LabelScoreDialect
from vllmsim.api.messages.dialect import CountDialect, MessagesDialect
from vllmsim.api.models import ModelList
from vllmsim.api.pooling.cohere import CohereDialect
from vllmsim.api.pooling.embeddings import EmbeddingDialect
from vllmsim.api.pooling.inputs import PoolingSettings
from vllmsim.api.pooling.scoring import RerankDialect, ScoreDialect
from vllmsim.api.pooling.tasks import ClassificationDialect, PoolingTaskDialect
from vllmsim.api.responses.dialect import ResponsesDialect
from vllmsim.api.responses.store import ResponseStore
from vllmsim.api.scaleout.derender import ChatDerenderer, CompletionDerenderer
from vllmsim.api.scaleout.generate import GenerateDialect
from vllmsim.api.scaleout.given import Bounds
from vllmsim.api.scaleout.reading import Words
from vllmsim.api.scaleout.renderers import ChatRenderer, CompletionRenderer, MessagesRenderer, ResponsesRenderer
from vllmsim.api.tokens import TokenDialect
from vllmsim.assembly.doors import Doors
from vllmsim.assembly.once import Once
from vllmsim.clocks.clocks import Clocks
from vllmsim.config.describing import describe_configuration
from vllmsim.config.live import LiveConfiguration
from vllmsim.config.schema import Configuration
from vllmsim.failures.injection import FailureInjection
from vllmsim.identity import engine_entry, signature
from vllmsim.interfaces import IAdmission, IConfigurations, IJournal, IScenarios, ITimeControl, ITokenizer
from vllmsim.models import ModelCatalogue
from vllmsim.serverinfo import describe_environment, describe_system
from vllmsim.web.adapters import AdapterLoading, AdapterRoutes
from vllmsim.web.admin import ConfigurationRoutes
from vllmsim.web.answering import Answering
from vllmsim.web.clock import ClockRoutes
from vllmsim.web.control import AbortRoutes, ControlRoutes
from vllmsim.web.development import DevelopmentRoutes
from vllmsim.web.disaggregation import DerenderRoutes, GenerateRoutes, RenderRoutes
from vllmsim.web.documentation import DocumentationRoutes
from vllmsim.web.exposition import ExpositionRoutes
from vllmsim.web.failing import Failing
from vllmsim.web.failures import FailureRoutes
from vllmsim.web.fakemetrics import FakeMetricsRoutes
from vllmsim.web.guarding import Guard, PageGuard
from vllmsim.web.inference import InferenceRoutes
from vllmsim.web.invocations import InvocationRoutes, Surface
from vllmsim.web.journal import JournalRoutes
from vllmsim.web.labelscores import LabelScoreRoutes
from vllmsim.web.operations import OperationRoutes
from vllmsim.web.pooling import PoolAnswering, PoolingRoutes
from vllmsim.web.profiling import Profiler, ProfilingRoutes
from vllmsim.web.responses import ResponseRoutes
from vllmsim.web.root import RankResource
from vllmsim.web.scaleout import ScaleOutAbortRoutes, ScaleOutGate
from vllmsim.web.scaling import ScalingRoutes
from vllmsim.web.scenarios import ScenarioRoutes
from vllmsim.web.tokens import CountRoutes, TokenizerRoutes, TokenRoutes

D = TypeVar("D")
T = TypeVar("T")


@define(eq=False)
class Surfaces:
    """Makes the routes of one rank.

    :param live: the rank's configuration.
    :param configurations: those of all ranks of the server.
    :param scenarios: plays them on the ranks of this process.
    :param number: which rank it is, from 0.
    :param seed: the daemon's seed.
    :param defer_to_thread: runs a function off the reactor.
    :param in_turn: does the same, one function after the other.
    :param environ: the environment.
    :param settings: tells what dialects share now, made of the configuration; kept up to date before the routes are.
    :param time: moves the time of the ranks of this process.
    :param doors: what its port leads to.
    :param exposition: writes the metrics, or those with some names.
    """

    live: LiveConfiguration
    configurations: IConfigurations
    scenarios: IScenarios
    number: int
    seed: int
    settings: Callable[[], Settings]
    models: ModelCatalogue
    tokenizer: ITokenizer
    clocks: Clocks
    defer_to_thread: Callable[..., Deferred[Any]]
    in_turn: Callable[..., Deferred[Any]]
    environ: Mapping[str, str]
    doors: Doors
    admission: IAdmission
    failures: FailureInjection
    journal: IJournal
    exposition: Callable[[Collection[str]], bytes]
    time: ITimeControl
    profiler: Profiler = field(init=False, factory=Profiler)
    began: float = field(init=False)
    """When the rank was made, in simulated seconds."""

    @began.default
    def _begin(self) -> float:
        return self.clocks.simulated.seconds()

    def resource(self) -> RankResource:
        """Join the routes into one tree."""
        c, answering = self.configuration, self.answering
        pooling = self._pooling()
        apps = self.chosen([*self._generating(answering)], [pooling.app])
        resource = RankResource([*apps, self._invocations(answering, pooling).app, *self._common()])
        for app in self._development():
            resource.add(app, self._pages)
        if not c.admin_endpoint:
            self._administer(resource)
        return self._explained(resource)

    @property
    def answering(self) -> Answering:
        """What answers requests to generate."""
        failing = self.failing(self.defer_to_thread)
        return Answering(self.doors.simulator, self.signature, self.defer_to_thread, failing)

    def admin_resource(self) -> RankResource | None:
        """Join the routes for administrators into a tree of their own, where they are to have one."""
        if not self.configuration.admin_endpoint:
            return None
        resource = RankResource(())
        self._administer(resource)
        return self._explained(resource)

    @property
    def configuration(self) -> Configuration:
        """What holds when the routes are made: there is nothing in it that decides about them and changes."""
        return self.live.current

    def _administer(self, resource: RankResource) -> None:
        """Add the routes for administrators, for those who have the key if there is one."""
        key = self.configuration.admin_api_key
        guard = Guard(key.encode()) if key else None
        for app in self._administered():
            resource.add(app, self._pages, guard)

    @property
    def _pages(self) -> PageGuard:
        return PageGuard(lambda: self.live.current.allowed_origins)

    def _explained(self, resource: RankResource) -> RankResource:
        if not self.configuration.disable_fastapi_docs:
            resource.add(self._documentation(resource))
        return resource

    @property
    def embeds(self) -> bool:
        """Whether this server makes vectors of texts."""
        return bool(self.chosen([], [True]))

    @property
    def signature(self) -> Mapping[str, str]:
        """The headers that name this server, if it has a name."""
        return signature(self.configuration, self.number)

    def pools(self, make: Callable[[PoolingSettings], D]) -> Callable[[], D]:
        """Keep a dialect that goes with the settings of now, for one that pools."""
        return self.latest(lambda settings: make(self._pooled(settings)))

    def _pooled(self, settings: Settings) -> PoolingSettings:
        c = self.live.current
        return PoolingSettings(settings, c.max_model_len, c.default_embedding_dimensions)

    def latest(self, make: Callable[[Settings], D]) -> Callable[[], D]:
        """Keep a dialect that goes with the settings of now."""
        return self.live.follow(lambda _: make(self.settings()))

    def chosen(self, generating: list[T], pooling: list[T]) -> list[T]:
        """Choose what this server has of what a vLLM has depending on its runner."""
        c = self.configuration
        if c.runner == "pooling":
            return pooling
        # A vLLM that only encodes media is one that generates.
        return generating + (pooling if c.runner == "auto" and not c.mm_encoder_only else [])

    def _generating(self, answering: Answering) -> Iterator[Klein]:
        """Make the routes that generate, and those that go with them."""
        c, latest = self.configuration, self.latest
        yield InferenceRoutes(
            answering,
            latest(ChatDialect),
            latest(CompletionDialect),
            latest(MessagesDialect),
            latest(BatchDialect),
            self.exposition,
        ).app
        store = ResponseStore(c.max_stored_responses if c.enable_responses_store else 0)
        responses = latest(lambda settings: ResponsesDialect(settings, c.max_model_len, store))
        yield ResponseRoutes(answering, responses, store, self.clocks.real).app
        yield CountRoutes(CountDialect(self.settings()), self.tokenizer, self.defer_to_thread).app
        words = self.tokenizer.vocabulary_size
        scores = latest(lambda settings: LabelScoreDialect(settings, c.max_model_len, words))
        yield LabelScoreRoutes(self.clocks.simulated, answering, scores, self.tokenizer).app
        yield from self._scaled_out(answering)

    def _scaled_out(self, answering: Answering) -> Iterator[Klein]:
        """Make the routes for servers that share the work of an answer."""
        c, latest = self.configuration, self.latest
        gate = ScaleOutGate(c.enable_scale_out or c.tokens_only)
        bounds = Bounds(c.max_model_len, c.max_logprobs, c.max_n_sequences)

        def words(settings: Settings) -> Words:
            return Words(self.tokenizer, settings.tokens_as_ids)

        generate = latest(lambda settings: GenerateDialect(settings, c.max_model_len))
        yield GenerateRoutes(gate, answering, generate).app
        yield RenderRoutes(
            gate,
            answering,
            self.admission,
            latest(ChatRenderer),
            latest(CompletionRenderer),
            latest(MessagesRenderer),
            latest(lambda settings: ResponsesRenderer(settings, c.max_model_len)),
        ).app
        yield DerenderRoutes(
            gate,
            answering,
            latest(lambda settings: ChatDerenderer(settings, words(settings), bounds)),
            latest(lambda settings: CompletionDerenderer(settings, words(settings), bounds)),
            self.defer_to_thread,
        ).app
        yield ScaleOutAbortRoutes(gate, self.doors.control).app

    def _pooling(self) -> PoolingRoutes:
        pools = self.pools
        return PoolingRoutes(
            self.pool_answering,
            pools(EmbeddingDialect),
            pools(CohereDialect),
            pools(PoolingTaskDialect),
            pools(ClassificationDialect),
            pools(ScoreDialect),
            pools(RerankDialect),
        )

    @property
    def pool_answering(self) -> PoolAnswering:
        """What answers requests that pool."""
        return PoolAnswering(self.doors.pooler, self.failing(self.in_turn), self.signature, self.in_turn)

    def failing(self, defer_to_thread: Callable[..., Deferred[Any]]) -> Failing:
        """Make what reads requests, of which some are to fail."""
        return Failing(self.clocks.simulated, self.failures, self.models, defer_to_thread)

    def _invocations(self, answering: Answering, pooling: PoolingRoutes) -> InvocationRoutes:
        """Make the route that takes the bodies of others."""
        pool = pooling.answering.answer

        def surfaces(settings: Settings) -> tuple[list[Surface], Surface]:
            pooled = self._pooled(settings)
            chat = Surface(frozenset({"messages"}), ChatDialect(settings).parse, answering.answer)
            completion = Surface(frozenset({"prompt"}), CompletionDialect(settings).parse, answering.answer)
            embedding = Surface(frozenset({"input", "messages"}), EmbeddingDialect(pooled).parse, pool)
            pools = [
                embedding,
                Surface(frozenset({"queries", "data_1", "text_1"}), ScoreDialect(pooled).parse, pool),
                Surface(frozenset({"documents"}), RerankDialect(pooled).parse, pool),
            ]
            default = embedding if self.configuration.runner == "pooling" else completion
            return self.chosen([chat, completion], pools), default

        return InvocationRoutes(answering, self.latest(surfaces))

    def _common(self) -> Iterator[Klein]:
        """Make the routes that every server has."""
        c, settings = self.configuration, self.settings()
        tokens = TokenDialect(self.models, c.max_model_len, c.trust_request_chat_template)
        yield TokenRoutes(tokens, self.tokenizer, self.defer_to_thread).app
        if c.enable_tokenizer_info_endpoint:
            yield TokenizerRoutes(tokens, self.tokenizer).app
        yield OperationRoutes(
            ModelList(self.models, c.max_model_len, settings.new_id, settings.now),
            self.doors.health,
            self._load,
            {rank: engine_entry(c, self.seed, rank) for rank in range(c.data_parallel_size)},
            self.doors.event_sources,
        ).app
        yield ExpositionRoutes(self.exposition).app
        if c.allow_runtime_lora_updating:
            yield AdapterRoutes(self.adapter_loading()).app
        yield ScalingRoutes(c.data_parallel_size).app

    def _load(self) -> int:
        """Tell how many requests are not answered yet, if that is to be told."""
        return self.doors.control.in_flight() if self.live.current.enable_server_load_tracking else 0

    def adapter_loading(self) -> AdapterLoading:
        """Make what loads adapters for clients."""
        return AdapterLoading(self.doors.adapters, self.clocks.simulated, self._find_adapter)

    def _find_adapter(self, path: str) -> Deferred[bool]:
        """Look whether there is an adapter at a path, if that is of interest."""
        if not self.live.current.lora_verify_paths:
            return succeed(True)
        return self.defer_to_thread(has_adapter, path)

    def _administered(self) -> Iterator[Klein]:
        """Make the routes by which a server is changed and looked into while it runs; they may be guarded."""
        yield ConfigurationRoutes(self.configurations, self.number).app
        yield FakeMetricsRoutes(self.configurations).app
        yield FailureRoutes(self.failures).app
        yield JournalRoutes(self.clocks.real, self.journal).app
        yield ScenarioRoutes(self.scenarios).app
        yield ClockRoutes(self.time).app

    def _development(self) -> Iterator[Klein]:
        """Make the routes that a vLLM has only when it is asked to."""
        c = self.configuration
        if c.server_dev_mode or c.tokens_only:
            yield AbortRoutes(self.doors.control).app
        if c.profiler_config:
            yield ProfilingRoutes(self.profiler).app
        if c.server_dev_mode:
            yield ControlRoutes(self.doors.control).app
            yield DevelopmentRoutes(
                self.doors.control,
                max(1, c.tensor_parallel_size) * c.pipeline_parallel_size,
                c.data_parallel_size,
                lambda: describe_configuration(self.live.current),
                describe_environment(self.environ),
                partial(self.defer_to_thread, describe_system),
            ).app

    def _documentation(self, resource: RankResource) -> Klein:
        def write() -> bytes:
            from vllmsim.api.openapi import openapi_document  # noqa: PLC0415 - few ask

            title = f"vLLM {VLLM_VERSION}, simulated"
            c = self.configuration
            return openapi_document(title, VLLM_VERSION, c.served_names[0], resource.operations(), c.root_path)

        return DocumentationRoutes(Once(self.defer_to_thread, write)).app
