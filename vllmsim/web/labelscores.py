# -*- test-case-name: tests.web.test_labelscores -*-
"""The routes that judge: label scores, and two that ordinary models do not have."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from attrs import define
from klein import Klein
from twisted.internet.interfaces import IReactorTime

from vllmsim.api.body import read_object
from vllmsim.api.description import GENERATING, READING, Response
from vllmsim.api.dialect import Call
from vllmsim.api.labelscores import LabelScoreDialect, Scoring, ScoringBody
from vllmsim.api.shapes.pooling import Scores
from vllmsim.errors import Unsupported
from vllmsim.inference import TextPrompt, TokenPrompt
from vllmsim.interfaces import ITokenizer
from vllmsim.turns import Turn
from vllmsim.web.answering import Answering
from vllmsim.web.described import described
from vllmsim.web.request import Request


@define(slots=False, eq=False)
class LabelScoreRoutes:
    """Answers how likely tokens are."""

    app: ClassVar[Klein] = Klein()

    _clock: IReactorTime
    _answering: Answering
    _dialect: Callable[[], LabelScoreDialect]
    _tokenizer: ITokenizer

    @app.route("/generative_scoring", methods=["POST"])
    @described(
        "Generation",
        Response(Scores),
        body=ScoringBody,
        errors=GENERATING,
        example={"query": "Is this a fruit?", "items": ["apple", "stone"], "label_token_ids": [1, 2]},
    )
    async def scores(self, request: Request) -> None:
        """Answer with a score for each item."""
        scoring = await self._answering.read(self._dialect().read, request)
        await self._answering.answer(await self._prepare(scoring), request)

    @app.route("/v1/decisions", methods=["POST"])
    @described("Generation", body=dict[str, Any], errors=(*READING, Unsupported))
    def decisions(self, request: Request) -> None:
        """Answer that the model does not decide."""
        read_object(request.content.read(), request.head)
        raise Unsupported("The model does not support the Decisions API")

    @app.route("/v1/systemone", methods=["POST"])
    @described("Generation", body=dict[str, Any], errors=(*READING, Unsupported))
    def structured_decisions(self, request: Request) -> None:
        """Answer that the model does not decide in this way either."""
        read_object(request.content.read(), request.head)
        raise Unsupported("The model does not support the structured decision API")

    async def _prepare(self, scoring: Scoring) -> Call:
        """Tokenize the query and each item for itself, letting other events in between."""
        turn = Turn(self._clock)
        query: Sequence[int] = scoring.query if isinstance(scoring.query, list) else ()
        if isinstance(scoring.query, str):
            query = (await self._tokenizer.read(TextPrompt(scoring.query, scoring.special), scoring.limit)).ids
        prompts: list[TokenPrompt] = []
        length = 0
        for item in scoring.items:
            prompts.append(scoring.join(query, await self._ids(item, scoring.limit)))
            length += len(prompts[-1].ids)
            scoring.check(length)
            await turn.step()
        return scoring.call(prompts)

    async def _ids(self, given: str | list[int], limit: int) -> list[int]:
        if isinstance(given, str):
            return list((await self._tokenizer.encode(given, limit)).ids)
        return given
