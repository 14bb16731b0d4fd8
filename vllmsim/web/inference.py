# -*- test-case-name: tests.web.test_inference -*-
"""The routes that generate and remember nothing: each names its dialect."""

from typing import ClassVar

from attrs import define
from klein import Klein

from vllmsim.api.dialect import Dialect
from vllmsim.api.errorbody import anthropic_error_body
from vllmsim.web.answering import Answering
from vllmsim.web.failing import answer_errors
from vllmsim.web.site import Request


@define(slots=False, eq=False)
class InferenceRoutes:
    """Answers inference requests."""

    app: ClassVar[Klein] = Klein()

    _answering: Answering
    _chat: Dialect
    _completions: Dialect
    _messages: Dialect
    _batch: Dialect

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

    @app.route("/v1/chat/completions/batch", methods=["POST"])
    async def batch(self, request: Request) -> None:
        """Answer a batch of conversations."""
        await self._answer(self._batch, request)

    async def _answer(self, dialect: Dialect, request: Request) -> None:
        await self._answering.answer(self._answering.read(dialect.parse, request), request)


answer_errors(InferenceRoutes.app)
