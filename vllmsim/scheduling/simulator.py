# -*- test-case-name: tests.scheduling.test_simulator -*-
"""The only door into a rank: requests go in, their tokens come out at the sink."""

from collections.abc import Callable, Collection, Iterator
from collections.abc import Sequence as Several
from itertools import count
from typing import TypeVar, cast

from attrs import define, field
from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from vllmsim.clocks.standstill import Standstill
from vllmsim.errors import Unavailable
from vllmsim.inference import Adapter, HashedPrompt, InferenceRequest, RankLoad, TokenizedPrompt
from vllmsim.interfaces import IEngineTrace, IPrefixCache, IRankMetrics, ISimulator, ITokenizer, ITokenSink
from vllmsim.randomness import derive
from vllmsim.records import RequestRecord
from vllmsim.scheduling.admission import Admission
from vllmsim.scheduling.backlog import Backlog
from vllmsim.scheduling.behaviour import Behaviour
from vllmsim.scheduling.lifecycle import RankLifecycle
from vllmsim.scheduling.openrequests import OpenRequests
from vllmsim.scheduling.runner import Runner
from vllmsim.scheduling.sequence import Sequence, Submission

T = TypeVar("T")


@implementer(ISimulator)
@define(eq=False)
class RankSimulator:
    """Lets requests in, queues their sequences, and waits for the last token of each.

    :param running: counts the sequences that run, as the metrics do.
    :param behaviour: tells how requests are served that do not say it themselves.
    :param seed: the rank's own seed.
    :param trace: is told where sequences are, if anything is.
    :param standstill: hears of prompts that are being read.
    """

    _clock: IReactorTime
    _lifecycle: RankLifecycle
    _admission: Admission
    _cache: IPrefixCache
    _backlog: Backlog
    _slots: Runner
    _running: Callable[[], int]
    _metrics: IRankMetrics
    _behaviour: Callable[[], Behaviour]
    _seed: int
    _trace: IEngineTrace | None = None
    _standstill: Standstill = field(factory=Standstill)
    _arrivals: "count[int]" = field(init=False, factory=count)
    requests: OpenRequests = field(init=False, factory=OpenRequests)
    """Everyone who is being served by the rank."""
    paused: bool = field(init=False, default=False)
    """Whether requests are refused for the time being."""

    def submit(
        self, request: InferenceRequest, sink: ITokenSink, record: RequestRecord | None = None
    ) -> Deferred[None]:
        """Serve a request; see :class:`vllmsim.interfaces.ISimulator`."""
        if record is None:
            record = RequestRecord("")
        return self.requests.add(Deferred.fromCoroutine(self._serve(request, sink, record, next(self._arrivals))))

    def reseed(self, seed: int) -> None:
        """Serve requests from now on as if the rank had just been made.

        :param seed: the one that takes the place of the rank's own.
        """
        self._seed, self._arrivals = seed, count()
        self._slots.unload_adapters()

    def load(self) -> RankLoad:
        """Tell how much there is to do."""
        running = self._running()
        return RankLoad(len(self.requests), len(self._backlog.sequences) - running, running, self._cache.usage)

    def abort(self, ids: Collection[str] | None) -> int:
        """End sequences with what they have said.

        :param ids: which, as :meth:`vllmsim.scheduling.sequence.Sequence.named_by` understands it; None for all.
        :return: how many requests they belong to.
        """
        named = [each for each in self._backlog.sequences if ids is None or each.named_by(ids)]
        for sequence in named:
            self._slots.abort(sequence)
        return len({sequence.submission for sequence in named})

    async def _serve(self, request: InferenceRequest, sink: ITokenSink, record: RequestRecord, arrival: int) -> None:
        arrived, behaviour = self._clock.seconds(), request.behaviour or self._behaviour()
        assert isinstance(behaviour, Behaviour)
        if not self._lifecycle.accepting():
            raise Unavailable("The server is shutting down.")
        admission = self._admission
        if request.tokenizer is not None:
            admission = admission.speaking(cast("ITokenizer", request.tokenizer))
        with self._standstill:
            prompts = await admission.read(request.prompts, request.cut)
            record.prompt_tokens = sum([len(prompt.ids) for prompt in prompts])
            limits = [admission.limit(prompt, request.sampling) for prompt in prompts]
            submission = Submission(request, prompts, sink, behaviour, record)
            submission.expect(limits)
            hashed = await self._hash(prompts, request)
        # From here to the queue nobody else comes between.
        self._require_room(len(prompts) * request.sampling.n, request.adapter)
        sequences = list(self._spread(submission, hashed, limits, arrival, arrived))
        lengths = await self._run(sequences)
        n = request.sampling.n
        for first in range(0, len(lengths), n):
            if not any(sequence.aborted for sequence in sequences[first : first + n]):
                self._metrics.prompt_finished(n, max(lengths[first : first + n]))

    async def _hash(self, prompts: Several[TokenizedPrompt], request: InferenceRequest) -> Several[HashedPrompt]:
        if len(prompts) == 1:
            return [await self._cache.hash(prompts[0], request)]

        async def hash_one(prompt: TokenizedPrompt) -> HashedPrompt:
            return await self._cache.hash(prompt, request)

        # Side by side: what a cache outside may take is taken once, however many prompts there are.
        return await _all([Deferred.fromCoroutine(hash_one(prompt)) for prompt in prompts])

    def _require_room(self, count: int, adapter: Adapter | None) -> None:
        """Make sure that so many sequences may come, in vLLM's order; the bound of the waiting queue is not vLLM's."""
        self._backlog.require_room(count)
        if self.paused:
            raise Unavailable("Generation is paused. Please retry after it resumes.")
        self._slots.require_room(count, adapter)

    def _spread(
        self,
        submission: Submission,
        hashed: Several[HashedPrompt],
        limits: Several[int],
        arrival: int,
        arrived: float,
    ) -> Iterator[Sequence]:
        request = submission.request
        n = request.sampling.n
        name: tuple[object, ...] = ("request", request.request_id) if request.named_by_client else ("arrival", arrival)
        seed = self._seed
        if request.sampling.seed is not None:
            seed, name = request.sampling.seed, ("seeded",)
        for index, each in enumerate(zip(submission.prompts, hashed, limits, strict=True)):
            for choice in range(index * n, index * n + n):
                generator = derive(seed, *name, choice)
                yield Sequence(
                    submission,
                    choice,
                    *each,
                    generator,
                    arrived,
                    self._slots.remove,
                    self._backlog.prefilled,
                    self._trace,
                )

    async def _run(self, sequences: list[Sequence]) -> list[int]:
        for sequence in sequences:
            self._backlog.enter(sequence)
            self._slots.add(sequence)
        return await _all([sequence.done for sequence in sequences])


async def _all(awaited: Several[Deferred[T]]) -> list[T]:
    """Wait for several results; the first that goes wrong ends the others."""
    try:
        if len(awaited) == 1:
            return [await awaited[0]]
        return await gatherResults(awaited, consumeErrors=True)
    except FirstError as error:
        raise cast("Exception", error.subFailure.value) from None
    finally:
        for each in awaited:
            each.cancel()
