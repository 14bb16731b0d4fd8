# -*- test-case-name: tests.web.test_disaggregation -*-
"""The routes for servers that share the work: one makes token ids of a request, one generates, one makes an answer.

All of them are closed on a server that was told so.
"""

from collections.abc import Callable
from typing import ClassVar, Final

from attrs import define
from klein import Klein
from twisted.internet.defer import Deferred

from vllmsim.api.body import Head
from vllmsim.api.chat import ChatBody
from vllmsim.api.completions import CompletionBody
from vllmsim.api.description import ASKING, EVENTS, GENERATING, Response
from vllmsim.api.dialect import Dialect
from vllmsim.api.messages.dialect import MessagesBody
from vllmsim.api.responses.dialect import ResponsesBody
from vllmsim.api.scaleout.derender import DerenderChatBody, DerenderCompletionBody, DerenderDialect
from vllmsim.api.scaleout.derenderstream import ChatChunkBody, CompletionChunkBody
from vllmsim.api.scaleout.generate import GenerateBody
from vllmsim.api.scaleout.render import RenderDialect
from vllmsim.api.shapes.chat import ChatCompletion
from vllmsim.api.shapes.completions import Completion
from vllmsim.api.shapes.errors import ErrorBody
from vllmsim.api.shapes.generate import (
    DerenderedChatChunk,
    DerenderedCompletionChunk,
    Generated,
    GeneratedChunk,
    RenderedRequest,
)
from vllmsim.api.shapes.messages import MessagesError
from vllmsim.errors import PermissionDenied
from vllmsim.interfaces import IAdmission
from vllmsim.web.answering import Answering
from vllmsim.web.described import described
from vllmsim.web.request import Request
from vllmsim.web.scaleout import ScaleOutGate

_INLINE_BYTES: Final = 8192
"""How large a body is derendered without a thread: the most that can be in it takes some milliseconds."""
_CLOSED: Final = (*ASKING, PermissionDenied)
_GENERATED: Final = {"request_id": "generate-tokens-1", "choices": [{"index": 0, "token_ids": [1, 2, 3]}]}


def _take(body: bytes, head: Head) -> tuple[bytes, Head]:
    return body, head


@define(slots=False, eq=False)
class GenerateRoutes:
    """Takes token ids and answers with token ids."""

    app: ClassVar[Klein] = Klein()

    _gate: ScaleOutGate
    _answering: Answering
    _generate: Callable[[], Dialect]

    @app.route("/inference/v1/generate", methods=["POST"])
    @described(
        "Disaggregated serving",
        Response(Generated),
        Response(GeneratedChunk | ErrorBody, EVENTS, ending="[DONE]"),
        body=GenerateBody,
        errors=(*GENERATING, PermissionDenied),
        example={"token_ids": [1, 2, 3], "sampling_params": {"max_tokens": 10}, "stream": True},
    )
    async def generate(self, request: Request) -> None:
        """Answer a generate request."""
        self._gate.require_open()
        await self._answering.answer(await self._answering.read(self._generate().parse, request), request)


@define(slots=False, eq=False)
class RenderRoutes:
    """Makes generate requests of other requests."""

    app: ClassVar[Klein] = Klein()

    _gate: ScaleOutGate
    _answering: Answering
    _admission: IAdmission
    _chat: Callable[[], RenderDialect]
    _completions: Callable[[], RenderDialect]
    _messages: Callable[[], RenderDialect]
    _responses: Callable[[], RenderDialect]

    @app.route("/v1/chat/completions/render", methods=["POST"])
    @described(
        "Disaggregated serving",
        Response(RenderedRequest),
        body=ChatBody,
        errors=_CLOSED,
        example={"messages": [{"role": "user", "content": "Hello!"}]},
    )
    async def chat(self, request: Request) -> None:
        """Answer with the generate request of a chat completion request."""
        await self._answer(self._chat(), request)

    @app.route("/v1/completions/render", methods=["POST"])
    @described(
        "Disaggregated serving",
        Response(list[RenderedRequest]),
        body=CompletionBody,
        errors=_CLOSED,
        example={"prompt": "Once upon a time"},
    )
    async def completions(self, request: Request) -> None:
        """Answer with the generate requests of a completion request."""
        await self._answer(self._completions(), request)

    @app.route("/v1/messages/render", methods=["POST"])
    @described(
        "Disaggregated serving",
        Response(RenderedRequest),
        body=MessagesBody,
        errors=_CLOSED,
        error_shapes=(MessagesError, ErrorBody),
        dialect="anthropic",
        example={"model": "model", "max_tokens": 20, "messages": [{"role": "user", "content": "Hello!"}]},
    )
    async def messages(self, request: Request) -> None:
        """Answer with the generate request of a Messages request."""
        self._gate.require_open()
        await self._answer(self._messages(), request)

    @app.route("/v1/responses/render", methods=["POST"])
    @described(
        "Disaggregated serving",
        Response(RenderedRequest),
        body=ResponsesBody,
        errors=_CLOSED,
        example={"input": "Hello!"},
    )
    async def responses(self, request: Request) -> None:
        """Answer with the generate request of a Responses request."""
        await self._answer(self._responses(), request)

    async def _answer(self, dialect: RenderDialect, request: Request) -> None:
        self._gate.require_open()
        rendering = await self._answering.read_in_peace(dialect.render, request)
        asked = rendering.request
        prompts = await self._admission.read(asked.prompts, asked.cut)
        samplings = [self._admission.bound(prompt, asked.sampling) for prompt in prompts]
        request.answer(200, rendering.body(prompts, samplings))


@define(slots=False, eq=False)
class DerenderRoutes:
    """Makes answers of token ids.

    :param defer_to_thread: runs a function off the reactor; long answers are made there.
    """

    app: ClassVar[Klein] = Klein()

    _gate: ScaleOutGate
    _answering: Answering
    _chat: Callable[[], DerenderDialect]
    _completions: Callable[[], DerenderDialect]
    _defer_to_thread: Callable[..., Deferred[bytes]]

    @app.route("/v1/chat/completions/derender", methods=["POST"])
    @described(
        "Disaggregated serving",
        Response(ChatCompletion | DerenderedChatChunk),
        body=DerenderChatBody | ChatChunkBody,
        errors=_CLOSED,
        example={"generate_response": _GENERATED},
    )
    async def chat(self, request: Request) -> None:
        """Answer with the chat completion that token ids are."""
        await self._answer(self._chat(), request)

    @app.route("/v1/completions/derender", methods=["POST"])
    @described(
        "Disaggregated serving",
        Response(Completion | DerenderedCompletionChunk),
        body=DerenderCompletionBody | CompletionChunkBody,
        errors=_CLOSED,
        example={"generate_responses": [_GENERATED]},
    )
    async def completions(self, request: Request) -> None:
        """Answer with the completion that token ids are."""
        await self._answer(self._completions(), request)

    async def _answer(self, dialect: DerenderDialect, request: Request) -> None:
        self._gate.require_open()
        body, head = await self._answering.read_in_peace(_take, request)
        if len(body) > _INLINE_BYTES:
            request.answer(200, await self._defer_to_thread(dialect.answer, body, head))
        else:
            request.answer(200, dialect.answer(body, head))
