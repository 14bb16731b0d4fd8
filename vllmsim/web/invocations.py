# -*- test-case-name: tests.web.test_invocations -*-
"""``/invocations``: one path for several surfaces, as SageMaker wants it."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, ClassVar

from attrs import define, frozen
from klein import Klein

from vllmsim.api.body import Head, read_object
from vllmsim.api.chat import ChatBody
from vllmsim.api.completions import CompletionBody
from vllmsim.api.description import BYTES, EVENTS, GENERATING, Response
from vllmsim.api.pooling.scoring import RerankBody, ScoreBody
from vllmsim.api.pooling.vectors import VectorBody
from vllmsim.api.shapes.chat import ChatCompletion, ChatCompletionChunk
from vllmsim.api.shapes.completions import Completion, CompletionChunk
from vllmsim.api.shapes.errors import ErrorBody
from vllmsim.api.shapes.pooling import Embeddings, Ranking, Scores
from vllmsim.errors import MalformedRequest
from vllmsim.web.answering import Answering
from vllmsim.web.described import described
from vllmsim.web.request import Request


@frozen(eq=False)
class Surface:
    """One of the surfaces that a body may be meant for.

    :param members: of these a body must have one.
    :param parse: reads a body; raises :class:`vllmsim.errors.InferenceError` when it is wrong.
    :param answer: answers what was read.
    """

    members: frozenset[str]
    parse: Callable[[bytes, Head], Any]
    answer: Callable[[Any, Request], Awaitable[None]]


@define(slots=False, eq=False)
class InvocationRoutes:
    """Answers a request as the first surface does that can read it.

    :param surfaces: tells which there are now, in order, and with them the one of them that says what is wrong with a
        body that none can read.
    """

    app: ClassVar[Klein] = Klein()

    _answering: Answering
    _surfaces: Callable[[], tuple[Sequence[Surface], Surface]]

    @app.route("/invocations", methods=["POST"])
    @described(
        "Generation",
        Response(ChatCompletion | Completion | Embeddings | Scores | Ranking),
        Response(ChatCompletionChunk | CompletionChunk | ErrorBody, EVENTS, ending="[DONE]"),
        Response(media=BYTES),
        body=ChatBody | CompletionBody | VectorBody | ScoreBody | RerankBody,
        errors=GENERATING,
        example={"prompt": "Once upon a time", "max_tokens": 20},
    )
    async def invocations(self, request: Request) -> None:
        """Answer a request of any of the surfaces."""
        call, surface = await self._answering.read(partial(_find, *self._surfaces()), request)
        await surface.answer(call, request)


def _find(surfaces: Sequence[Surface], default: Surface, body: bytes, head: Head) -> tuple[Any, Surface]:
    """Find who can read a body.

    :raises MalformedRequest: when nobody can.
    :raises InferenceError: when it is well formed and cannot be served.
    """
    members = read_object(body, head).keys()
    for surface in surfaces:
        if members & surface.members:
            try:
                return surface.parse(body, head), surface
            except MalformedRequest:
                continue
    return default.parse(body, head), default
