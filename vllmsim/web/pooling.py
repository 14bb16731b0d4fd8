# -*- test-case-name: tests.web.test_pooling -*-
"""The routes that pool: embeddings, classes, scores."""

from collections.abc import Callable, Mapping
from typing import ClassVar, Final

from attrs import define
from klein import Klein
from twisted.internet.defer import Deferred

from vllmsim.api.description import BYTES, GENERATING, Response
from vllmsim.api.naming import Names, named_in_json
from vllmsim.api.pooling.cohere import CohereBody
from vllmsim.api.pooling.inputs import InputBody, PoolingCall, PoolingDialect, Reply
from vllmsim.api.pooling.scoring import RerankBody, ScoreBody
from vllmsim.api.pooling.tasks import PoolingTaskBody
from vllmsim.api.pooling.vectors import VectorBody
from vllmsim.api.shapes.pooling import Classifications, CohereEmbeddings, Embeddings, Poolings, Ranking, Scores
from vllmsim.interfaces import IPooler
from vllmsim.web.damage import answer_badly
from vllmsim.web.delivery import deliver
from vllmsim.web.described import described
from vllmsim.web.failing import Failing, disturbed
from vllmsim.web.request import Request

_INLINE_NUMBERS: Final = 2048
"""How many numbers are written without a thread: it takes half a millisecond, as 8-bit floats 2 ms."""


@define(eq=False)
class PoolAnswering:
    """Answers pooling requests.

    :param failing: reads requests, of which some are to fail.
    :param signature: headers that name this server, sent with every answer.
    :param defer_to_thread: runs a function off the reactor; long answers are written there.
    """

    _pooler: IPooler
    _failing: Failing
    _signature: Mapping[str, str]
    _defer_to_thread: Callable[..., Deferred[Reply]]

    async def read(self, dialect: PoolingDialect, request: Request, names: Names = named_in_json) -> PoolingCall:
        """Read a request as :class:`vllmsim.web.failing.Failing` does, and sign its answer.

        :param names: tells what the body says of itself, as far as failures are chosen by that.
        """
        for name, value in self._signature.items():
            request.setHeader(name, value)
        return await self._failing.read(dialect.parse, request, names)

    async def answer(self, call: PoolingCall, request: Request) -> None:
        """Have a call served, and write its answer.

        :raises vllmsim.errors.InferenceError: when it cannot be served.
        """
        fault, record = request.fault, request.record
        if record is not None:
            reading = call.reading
            record.asks(reading.asked, reading.model, reading.id, reading.request_id)
            record.prompts = len(call.request.inputs)
        pooled = await self._pooler.pool(disturbed(call.request, fault), record)
        if sum(each.numbers for each in pooled) > _INLINE_NUMBERS:
            reply = await self._defer_to_thread(call.write, pooled)
        else:
            reply = call.write(pooled)
        for name, value in reply.headers.items():
            request.setHeader(name, value)
        if fault is not None and fault.damage is not None:
            answer_badly(request, fault.damage, b"".join(reply.pieces), reply.content_type.encode(), call.spoiling)
            return
        await deliver(request, 200, reply.pieces, reply.content_type.encode())


@define(slots=False, eq=False)
class PoolingRoutes:
    """The routes, each with its dialect."""

    app: ClassVar[Klein] = Klein()

    answering: PoolAnswering
    _embeddings: Callable[[], PoolingDialect]
    _cohere: Callable[[], PoolingDialect]
    _pooling: Callable[[], PoolingDialect]
    _classification: Callable[[], PoolingDialect]
    _scores: Callable[[], PoolingDialect]
    _ranking: Callable[[], PoolingDialect]

    @app.route("/v1/embeddings", methods=["POST"])
    @described(
        "Pooling",
        Response(Embeddings),
        Response(media=BYTES),
        body=VectorBody,
        errors=GENERATING,
        example={"input": ["Hello!", "Good morning!"], "dimensions": 8},
    )
    async def embeddings(self, request: Request) -> None:
        """Answer with a vector for each input."""
        await self._answer(self._embeddings(), request)

    @app.route("/v2/embed", methods=["POST"])
    @described(
        "Pooling",
        Response(CohereEmbeddings),
        body=CohereBody,
        errors=GENERATING,
        example={"texts": ["Hello!"], "embedding_types": ["float"], "output_dimension": 8},
    )
    async def cohere_embeddings(self, request: Request) -> None:
        """Answer as Cohere does."""
        await self._answer(self._cohere(), request)

    @app.route("/pooling", methods=["POST"])
    @described(
        "Pooling",
        Response(Poolings),
        Response(media=BYTES),
        body=PoolingTaskBody,
        errors=GENERATING,
        example={"input": "Hello!", "task": "classify"},
    )
    async def pooling(self, request: Request) -> None:
        """Answer with what the task makes of each input."""
        await self._answer(self._pooling(), request)

    @app.route("/classify", methods=["POST"])
    @described("Pooling", Response(Classifications), body=InputBody, errors=GENERATING, example={"input": "Hello!"})
    async def classify(self, request: Request) -> None:
        """Answer with a label for each input."""
        await self._answer(self._classification(), request)

    @app.route("/score", methods=["POST"])
    @app.route("/v1/score", methods=["POST"], endpoint="score_v1")
    @described(
        "Pooling",
        Response(Scores),
        body=ScoreBody,
        errors=GENERATING,
        example={"queries": "What is a slot?", "documents": ["A place to run.", "A fish."]},
    )
    async def score(self, request: Request) -> None:
        """Answer with the score of each pair."""
        await self._answer(self._scores(), request)

    @app.route("/rerank", methods=["POST"])
    @app.route("/v1/rerank", methods=["POST"], endpoint="rerank_v1")
    @app.route("/v2/rerank", methods=["POST"], endpoint="rerank_v2")
    @described(
        "Pooling",
        Response(Ranking),
        body=RerankBody,
        errors=GENERATING,
        example={"query": "What is a slot?", "documents": ["A fish.", "A place to run."]},
    )
    async def rerank(self, request: Request) -> None:
        """Answer with the documents, the most relevant first."""
        await self._answer(self._ranking(), request)

    async def _answer(self, dialect: PoolingDialect, request: Request) -> None:
        await self.answering.answer(await self.answering.read(dialect, request), request)
