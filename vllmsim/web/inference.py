# -*- test-case-name: tests.web.test_inference -*-
"""The routes that generate and remember nothing: each names its dialect."""

from collections.abc import Callable, Collection
from typing import ClassVar

from attrs import define
from klein import Klein

from vllmsim.api.batch import BatchBody
from vllmsim.api.chat import ChatBody
from vllmsim.api.completions import CompletionBody
from vllmsim.api.description import EVENTS, GENERATING, Response
from vllmsim.api.dialect import Dialect
from vllmsim.api.loadreport import FORMAT_HEADER, REPORT_HEADER, SAMPLES, load_report
from vllmsim.api.messages.dialect import MessagesBody
from vllmsim.api.shapes.chat import ChatCompletion, ChatCompletionChunk
from vllmsim.api.shapes.completions import Completion, CompletionChunk
from vllmsim.api.shapes.errors import ErrorBody
from vllmsim.api.shapes.messages import AnthropicMessage, MessageEvent, MessagesError
from vllmsim.web.answering import Answering, Report
from vllmsim.web.described import described
from vllmsim.web.request import Request


@define(slots=False, eq=False)
class InferenceRoutes:
    """Answers inference requests.

    :param samples: writes the samples of the metrics that have some names.
    """

    app: ClassVar[Klein] = Klein()

    _answering: Answering
    _chat: Callable[[], Dialect]
    _completions: Callable[[], Dialect]
    _messages: Callable[[], Dialect]
    _batch: Callable[[], Dialect]
    _samples: Callable[[Collection[str]], bytes]

    @app.route("/v1/chat/completions", methods=["POST"])
    @described(
        "Generation",
        Response(ChatCompletion),
        Response(ChatCompletionChunk | ErrorBody, EVENTS, ending="[DONE]"),
        body=ChatBody,
        errors=GENERATING,
        example={"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 20, "stream": True},
    )
    async def chat(self, request: Request) -> None:
        """Answer a chat completion request."""
        await self._answer(self._chat(), request, self._report)

    @app.route("/v1/completions", methods=["POST"])
    @described(
        "Generation",
        Response(Completion),
        Response(CompletionChunk | ErrorBody, EVENTS, ending="[DONE]"),
        body=CompletionBody,
        errors=GENERATING,
        example={"prompt": "Once upon a time", "max_tokens": 20, "stream": True},
    )
    async def completions(self, request: Request) -> None:
        """Answer a completion request."""
        await self._answer(self._completions(), request, self._report)

    @app.route("/v1/messages", methods=["POST"])
    @described(
        "Generation",
        Response(AnthropicMessage),
        Response(MessageEvent, EVENTS),
        body=MessagesBody,
        errors=GENERATING,
        error_shapes=(MessagesError, ErrorBody),
        dialect="anthropic",
        example={
            "model": "model",
            "max_tokens": 20,
            "messages": [{"role": "user", "content": "Hello!"}],
            "stream": True,
        },
    )
    async def messages(self, request: Request) -> None:
        """Answer a Messages request."""
        await self._answer(self._messages(), request)

    @app.route("/v1/chat/completions/batch", methods=["POST"])
    @described(
        "Generation",
        Response(ChatCompletion),
        body=BatchBody,
        errors=GENERATING,
        example={"messages": [[{"role": "user", "content": "Hello!"}], [{"role": "user", "content": "Good morning!"}]]},
    )
    async def batch(self, request: Request) -> None:
        """Answer a batch of conversations."""
        await self._answer(self._batch(), request)

    async def _answer(self, dialect: Dialect, request: Request, report: Report | None = None) -> None:
        await self._answering.answer(await self._answering.read(dialect.parse, request), request, report)

    def _report(self, request: Request) -> None:
        """Have an answer say how much there is to do, if its request asks for that."""
        form = request.getHeader(FORMAT_HEADER)
        if form is not None and (report := load_report(form.decode("latin-1"), self._samples(SAMPLES))) is not None:
            request.setHeader(REPORT_HEADER, report.encode())
