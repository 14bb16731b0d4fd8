# -*- test-case-name: tests.web.test_inference -*-
"""The routes that generate: a dialect reads the body, the simulator serves it, a sink writes the answer."""

from collections.abc import Callable, Mapping
from typing import ClassVar, Final

from attrs import define
from klein import Klein
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from vllmsim.api.dialect import Call, Dialect, StreamEncoder
from vllmsim.api.errorbody import anthropic_error_body, internal_error
from vllmsim.errors import InferenceError
from vllmsim.interfaces import ISimulator
from vllmsim.web.failing import answer_errors
from vllmsim.web.site import Request
from vllmsim.web.streaming import EventStream, WholeAnswer

_INLINE_TOKENS: Final = 128
"""How many tokens with log probabilities are written without a thread: some 4 ms with 20 alternatives each."""


@define(slots=False, eq=False)
class InferenceRoutes:
    """Answers inference requests.

    :param signature: headers that name this server, sent with every answer.
    :param defer_to_thread: runs a function off the reactor; long answers in full detail are written there.
    """

    app: ClassVar[Klein] = Klein()
    _log: ClassVar[Logger] = Logger()

    _simulator: ISimulator
    _chat: Dialect
    _completions: Dialect
    _messages: Dialect
    _signature: Mapping[str, str]
    _defer_to_thread: Callable[..., Deferred[bytes]]

    @app.route("/v1/chat/completions", methods=["POST"])
    async def chat(self, request: Request) -> None:
        """Answer a chat completion request."""
        await self._answer(self._chat, request)

    @app.route("/v1/completions", methods=["POST"])
    async def completions(self, request: Request) -> None:
        """Answer a completion request."""
        await self._answer(self._completions, request)

    @app.route("/v1/messages", methods=["POST"])
    async def messages(self, request: Request) -> None:
        """Answer a Messages request."""
        request.error_body = anthropic_error_body
        await self._answer(self._messages, request)

    async def _answer(self, dialect: Dialect, request: Request) -> None:
        for name, value in self._signature.items():
            request.setHeader(name, value)
        call = dialect.parse(request.content.read(), request.head)
        if call.stream_encoder is None:
            await self._answer_whole(call, request)
        else:
            await self._stream(call, request, call.stream_encoder())

    async def _answer_whole(self, call: Call, request: Request) -> None:
        answer, encoder = WholeAnswer(), call.whole_encoder()
        await self._simulator.submit(call.request, answer)
        parts = answer.prompts, answer.cached_tokens, answer.choices
        if call.request.sampling.detailed and answer.length > _INLINE_TOKENS:
            body = await self._defer_to_thread(encoder.body, *parts)
        else:
            body = encoder.body(*parts)
        request.answer(200, body)

    async def _stream(self, call: Call, request: Request, encoder: StreamEncoder) -> None:
        stream = EventStream(request, encoder)
        try:
            await self._simulator.submit(call.request, stream)
            stream.close()
        except InferenceError as error:
            if not stream.begun:
                raise
            stream.fail(error)
        except Exception:
            if not stream.begun or request.gone:
                raise
            self._log.failure("While streaming to {uri}", uri=request.uri)
            stream.fail(internal_error())


answer_errors(InferenceRoutes.app)
