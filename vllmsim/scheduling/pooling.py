# -*- test-case-name: tests.scheduling.test_pooling -*-
"""Requests for vectors and scores: read the prompts, take the time of their prefill in a slot, pool.

They have slots of their own, as many as sequences that generate have, and the same bound on who waits; what happens to
them is in no metric of sequences.
"""

import math
import random
from collections.abc import Callable, Sequence
from itertools import count
from typing import Final, cast

from attrs import define, field
from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from zope.interface import implementer

from vllmsim.clocks.standstill import Standstill
from vllmsim.errors import InvalidRequest, QueueFull, Unavailable
from vllmsim.inference import TokenizedPrompt, TokenPrompt
from vllmsim.interfaces import IEmbedder, ILatencyModel, IPooler
from vllmsim.pooling import LABELS, Pooled, PoolingRequest
from vllmsim.randomness import derive
from vllmsim.records import RequestRecord
from vllmsim.scheduling.behaviour import Behaviour
from vllmsim.scheduling.lifecycle import RankLifecycle
from vllmsim.scheduling.limits import RankLimits
from vllmsim.scheduling.openrequests import OpenRequests
from vllmsim.scheduling.prompts import PromptReader
from vllmsim.scheduling.seats import Seats
from vllmsim.turns import Turn

MOST_NUMBERS: Final = 1 << 22
"""The most numbers of one answer."""
_CERTAINTY: Final = 4.0
"""The length of the vector of a text's logits."""


@implementer(IPooler)
@define(eq=False)
class RankPooler:
    """Serves requests for vectors and scores.

    :param requests: everyone who is being served by the rank.
    :param paused: tells whether requests are refused for the time being.
    :param behaviour: tells how requests are served that do not say it themselves.
    :param limits: tells how many prompts may be in their prefill at the same time, and how many may wait for that when
        another request comes.
    :param seed: the rank's own seed.
    :param standstill: hears of prompts that are being read, or made vectors of.
    """

    _clock: IReactorTime
    _lifecycle: RankLifecycle
    _requests: OpenRequests
    _paused: Callable[[], bool]
    _reader: PromptReader
    _embedder: IEmbedder
    _behaviour: Callable[[], Behaviour]
    _limits: Callable[[], RankLimits]
    _seed: int
    _standstill: Standstill = field(factory=Standstill)
    _slots: Seats = field(init=False)
    _arrivals: "count[int]" = field(init=False, factory=count)

    @_slots.default
    def _make_slots(self) -> Seats:
        return Seats(lambda: self._limits().running)

    def pool(self, request: PoolingRequest, record: RequestRecord | None = None) -> Deferred[Sequence[Pooled]]:
        """Serve a request; see :class:`vllmsim.interfaces.IPooler`."""
        if record is None:
            record = RequestRecord("")
        generator = derive(self._seed, "pooling", next(self._arrivals))
        return self._requests.add(Deferred.fromCoroutine(self._serve(request, record, generator)))

    def fill(self) -> None:
        """Let prompts in that wait, where more may be in now."""
        self._slots.fill()

    def reseed(self, seed: int) -> None:
        """Serve requests from now on as if the rank had just been made.

        :param seed: the one that takes the place of the rank's own.
        """
        self._seed, self._arrivals = seed, count()

    async def _serve(
        self, request: PoolingRequest, record: RequestRecord, generator: random.Random
    ) -> Sequence[Pooled]:
        behaviour = request.behaviour or self._behaviour()
        assert isinstance(behaviour, Behaviour)
        if not self._lifecycle.accepting():
            raise Unavailable("The server is shutting down.")
        with self._standstill:
            prompts = await self._reader.read_all((each.prompt, each.cuts) for each in request.inputs)
        record.prompt_tokens = sum([len(prompt.ids) for prompt in prompts])
        _check(request, prompts)
        if self._paused():
            raise Unavailable("Generation is paused. Please retry after it resumes.")
        if not self._slots.free and self._slots.waiting >= self._limits().waiting:
            raise QueueFull("Failed to enqueue request, waiting requests queue is full")
        record.queued = self._clock.seconds()
        late = request.disturbance.first_token + request.disturbance.stall if request.disturbance else 0.0
        await self._prefill([len(prompt.ids) for prompt in prompts], record, behaviour.latency, late, generator)
        with self._standstill:
            return await self._pool(request, prompts)

    async def _prefill(
        self,
        lengths: Sequence[int],
        record: RequestRecord,
        latency: ILatencyModel,
        late: float,
        generator: random.Random,
    ) -> None:
        turn = Turn(self._clock)
        running: list[Deferred[None]] = []
        try:
            for length in lengths:
                running.append(Deferred.fromCoroutine(self._occupy(length, record, latency, late, generator)))
                await turn.step()
            await gatherResults(running, consumeErrors=True)
        except FirstError as error:
            raise cast("Exception", error.subFailure.value) from None
        finally:
            for each in running:
                each.addErrback(lambda _: None)
                each.cancel()

    async def _occupy(
        self, length: int, record: RequestRecord, latency: ILatencyModel, late: float, generator: random.Random
    ) -> None:
        """Have a slot for the time of a prefill, and for as many seconds as it is late."""
        await self._slots.take()
        if record.started is None:
            record.started = self._clock.seconds()
        try:
            seconds = late + latency.time_to_first_token(length, 0, False, self._slots.taken, generator)
            if seconds:
                await deferLater(self._clock, seconds)
        finally:
            self._slots.leave()

    async def _pool(self, request: PoolingRequest, prompts: Sequence[TokenizedPrompt]) -> list[Pooled]:
        if request.task == "score":
            return await self._score(prompts[: request.queries], prompts[request.queries :])
        turn, pooled = Turn(self._clock), []
        for prompt in prompts:
            words = _words(prompt)
            if request.by_token:
                known: dict[str | int, Sequence[float]] = {}
                for word in words:
                    if word not in known:
                        known[word] = await self._vector(request, [word])
                        await turn.step()
                pooled.append(Pooled(len(words), [known[word] for word in words], by_token=True))
            else:
                pooled.append(Pooled(len(words), [await self._vector(request, words)]))
            await turn.step()
        return pooled

    async def _vector(self, request: PoolingRequest, words: Sequence[str | int]) -> Sequence[float]:
        if request.task.endswith("embed"):
            return await self._embedder.embed(words, request.dimensions)
        logits = [_CERTAINTY * number for number in await self._embedder.embed(words, len(LABELS))]
        return _softmax(logits) if request.activation else logits

    async def _score(self, queries: Sequence[TokenizedPrompt], documents: Sequence[TokenizedPrompt]) -> list[Pooled]:
        if len(queries) == 1:
            scores = await self._embedder.compare(_words(queries[0]), list(map(_words, documents)))
            queries = [*queries] * len(documents)
        else:
            scores, turn = [], Turn(self._clock)
            for query, document in zip(queries, documents, strict=True):
                scores += await self._embedder.compare(_words(query), [_words(document)])
                await turn.step()
        return [
            Pooled(len(query.ids) + len(document.ids), [[score]])
            for query, document, score in zip(queries, documents, scores, strict=True)
        ]


def _words(prompt: TokenizedPrompt) -> Sequence[str | int]:
    return prompt.ids if isinstance(prompt.prompt, TokenPrompt) else prompt.texts


def _softmax(logits: Sequence[float]) -> list[float]:
    powers = [math.exp(logit) for logit in logits]
    return [power / sum(powers) for power in powers]


def _check(request: PoolingRequest, prompts: Sequence[TokenizedPrompt]) -> None:
    if not request.empty and not all(len(prompt.ids) for prompt in prompts):
        raise InvalidRequest("The decoder prompt cannot be empty")
    vectors = sum(len(prompt.ids) for prompt in prompts) if request.by_token else len(prompts)
    numbers = vectors * (request.dimensions if request.task.endswith("embed") else len(LABELS))
    if numbers > MOST_NUMBERS:
        raise InvalidRequest(
            f"The answer would have {numbers} numbers, and at most {MOST_NUMBERS} are allowed. "
            "Please reduce the number of inputs or their dimensions."
        )
