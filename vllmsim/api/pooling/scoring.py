# -*- test-case-name: tests.api.pooling.test_scoring -*-
"""``/score`` and ``/rerank``, as vLLM 0.33 reads and writes them.

A score request has two sides, under one of four pairs of names: one query and many documents, or as many of both. A
rerank request has one query; its answer has the documents in the order of their relevance. Either side may have content
as chat messages have it. The tokens of a pair are counted for each pair, those of a query that many share again and
again.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import orjson
from attrs import frozen
from pydantic import Field

from vllmsim.api.body import Body, Head, Listed, read_object, validate
from vllmsim.api.conversation import flatten
from vllmsim.api.pooling.inputs import (
    PoolingBody,
    PoolingCall,
    PoolingReading,
    PoolingSettings,
    Reply,
    check_counts,
    check_removed,
)
from vllmsim.errors import InvalidRequest
from vllmsim.inference import Cut, TextPrompt
from vllmsim.pooling import Pooled, PoolingInput, PoolingRequest


class ScoreContent(Body):
    """A query or a document of several parts."""

    content: Listed[dict[str, Any]]


_Side = str | ScoreContent | Listed[str | ScoreContent]


class ScoringBody(PoolingBody):
    """What score and rerank requests have in common."""

    max_tokens_per_query: int = 0
    max_tokens_per_doc: int = 0
    instruction: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class DataBody(ScoringBody):
    """Two sides of which nothing is said."""

    data_1: _Side
    data_2: _Side


class DocumentBody(ScoringBody):
    """Queries and documents."""

    queries: _Side
    documents: _Side


class ItemBody(ScoringBody):
    """Queries and items."""

    queries: _Side
    items: _Side


class TextBody(ScoringBody):
    """Two sides of texts."""

    text_1: _Side
    text_2: _Side


ScoreBody = DocumentBody | ItemBody | DataBody | TextBody


class _NoSides(ScoringBody):
    """What a body without any side is checked against, so that the error names them all."""

    queries: _Side
    documents: _Side
    items: _Side
    data_1: _Side
    data_2: _Side
    text_1: _Side
    text_2: _Side


class RerankBody(ScoringBody):
    """A rerank request."""

    query: str | ScoreContent
    documents: _Side
    top_n: Annotated[int, Field(ge=0)] = 0


_FORMS: Final[Sequence[tuple[type[ScoringBody], str, str]]] = (
    (DocumentBody, "queries", "documents"),
    (ItemBody, "queries", "items"),
    (DataBody, "data_1", "data_2"),
    (TextBody, "text_1", "text_2"),
)


def _form(data: Mapping[str, Any]) -> tuple[type[ScoringBody], str, str]:
    """Find the pair of names that a body has, or the first of which it has one."""
    for enough in (all, any):
        for form in _FORMS:
            if enough(name in data for name in form[1:]):
                return form
    return _NoSides, "queries", "documents"


def _list(side: _Side) -> list[str | ScoreContent]:
    return side if isinstance(side, list) else [side]


@frozen(eq=False)
class _Scoring:
    """Makes requests of two sides."""

    _settings: PoolingSettings

    def _request(
        self, body: ScoringBody, queries: Sequence[str | ScoreContent], documents: Sequence[str | ScoreContent]
    ) -> PoolingRequest:
        if len(queries) > 1 and len(queries) != len(documents):
            raise InvalidRequest("Input lengths must be either 1:1, 1:N or N:N")
        if not queries:
            raise InvalidRequest("At least one text element must be given")
        if not documents:
            raise InvalidRequest("At least one text_pair element must be given")
        query_cuts = self._limit("max_tokens_per_query", body.max_tokens_per_query) + self._settings.cuts(body)
        document_cuts = self._limit("max_tokens_per_doc", body.max_tokens_per_doc) + self._settings.cuts(body)
        inputs = [PoolingInput(TextPrompt(self._text(query)), query_cuts) for query in queries]
        inputs += [PoolingInput(TextPrompt(self._text(document)), document_cuts) for document in documents]
        behaviour = self._settings.settings.behaviour
        return PoolingRequest("score", tuple(inputs), queries=len(queries), empty=True, behaviour=behaviour)

    def _text(self, item: str | ScoreContent) -> str:
        if isinstance(item, str):
            return item
        text, media = flatten(item.content)
        if media and not self._settings.settings.multimodal:
            model = self._settings.settings.models.resolve(None)
            raise InvalidRequest(f"MultiModalParam is not supported for {model}")
        return text

    def _limit(self, name: str, tokens: int) -> tuple[Cut, ...]:
        if tokens < 0:
            raise InvalidRequest(f"{name} must be a non-negative integer")
        if tokens >= self._settings.max_model_len:
            raise InvalidRequest(f"{name} ({tokens}) must be less than max_model_len ({self._settings.max_model_len}).")
        return (Cut(tokens),) if tokens else ()


class ScoreDialect(_Scoring):
    """Reads score requests."""

    def parse(self, body: bytes, head: Head) -> PoolingCall:
        """Read a request; see :class:`vllmsim.api.pooling.inputs.PoolingDialect`."""
        data = read_object(body, head)
        check_removed(data)
        form, first, second = _form(data)
        check_counts(data, first, second)
        read = validate(form, data, body)
        reading = self._settings.reading("score", head, read)
        request = self._request(read, _list(getattr(read, first)), _list(getattr(read, second)))
        return PoolingCall(request, ScoreWriter(reading), reading)


class RerankDialect(_Scoring):
    """Reads rerank requests."""

    def parse(self, body: bytes, head: Head) -> PoolingCall:
        """Read a request; see :class:`vllmsim.api.pooling.inputs.PoolingDialect`."""
        data = read_object(body, head)
        check_removed(data)
        check_counts(data, "documents")
        read = validate(RerankBody, data, body)
        reading = self._settings.reading("score", head, read)
        request = self._request(read, [read.query], _list(read.documents))
        return PoolingCall(request, RerankWriter(reading, read), reading)


@frozen(eq=False)
class ScoreWriter:
    """Writes the score of each pair."""

    _reading: PoolingReading

    def __call__(self, pooled: Sequence[Pooled]) -> Reply:
        """Write the answer."""
        items = (
            orjson.dumps({"index": index, "object": "score", "score": each.vectors[0][0]})
            for index, each in enumerate(pooled)
        )
        return self._reading.listing(pooled, items)


@frozen(eq=False)
class RerankWriter:
    """Writes documents, the most relevant first."""

    _reading: PoolingReading
    _body: RerankBody

    def __call__(self, pooled: Sequence[Pooled]) -> Reply:
        """Write the answer; documents of equal relevance stay in their order."""
        documents = _list(self._body.documents)
        order = sorted(range(len(pooled)), key=lambda index: -pooled[index].vectors[0][0])
        tokens = self._reading.tokens(pooled)
        answer = {
            "id": self._reading.id,
            "model": self._reading.model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            "results": [
                {
                    "index": index,
                    "document": _shown(documents[index]),
                    "relevance_score": pooled[index].vectors[0][0],
                }
                for index in order[: self._body.top_n or None]
            ],
        }
        return Reply([orjson.dumps(answer)])


def _shown(document: str | ScoreContent) -> dict[str, Any]:
    if isinstance(document, str):
        return {"text": document, "multi_modal": None}
    return {"text": None, "multi_modal": document.content}
