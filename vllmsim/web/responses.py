# -*- test-case-name: tests.web.test_responses -*-
"""The routes of Responses: make one, look at one that is stored or in the making, make an end of it."""

from collections.abc import Callable, Sequence
from typing import ClassVar, Final

from attrs import define, field
from klein import Klein
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from vllmsim.api.description import EVENTS, GENERATING, Response
from vllmsim.api.eventstream import CONTENT_TYPE
from vllmsim.api.responses.dialect import ResponseCall, ResponsesBody, ResponsesDialect, Retrieval
from vllmsim.api.responses.store import ResponseStore, StoredResponse
from vllmsim.api.shapes.responses import ResponseEvent, ResponseObject
from vllmsim.errors import InvalidResponseUse, MalformedRequest, UnknownResponse
from vllmsim.web.answering import Answering
from vllmsim.web.background import BackgroundResponse
from vllmsim.web.described import described
from vllmsim.web.failing import disturbed
from vllmsim.web.request import Request

_TURN_EVENTS: Final = 256
"""How many events that have been are sent before other clients have their turn."""


@define(slots=False, eq=False)
class ResponseRoutes:
    """Answers Responses requests."""

    app: ClassVar[Klein] = Klein()

    _answering: Answering
    _dialect: Callable[[], ResponsesDialect]
    _store: ResponseStore
    _clock: IReactorTime
    _running: dict[str, BackgroundResponse] = field(init=False, factory=dict)

    @app.route("/v1/responses", methods=["POST"])
    @described(
        "Generation",
        Response(ResponseObject),
        Response(ResponseEvent, EVENTS),
        body=ResponsesBody,
        errors=(*GENERATING, InvalidResponseUse, UnknownResponse),
        example={"input": "Hello!", "max_output_tokens": 20, "stream": True},
    )
    async def create(self, request: Request) -> None:
        """Make a response."""
        call = await self._answering.read(self._dialect().parse, request)
        if call.background is None:
            await self._answering.answer(call, request)
            return
        response = BackgroundResponse(call.background, self._keep, recorded=bool(call.stream_encoder))
        self._start(call, response, request)
        if response.events is None:
            request.answer(200, response.body)
        else:
            await self._send(request, response.events, 0, response)

    def _start(self, call: ResponseCall, response: BackgroundResponse, request: Request) -> None:
        """Begin to make a response in the background.

        :raises InferenceError: when it is refused at once.
        """
        name = call.reading.id
        self._store.begin(name)
        self._running[name] = response
        if request.record is not None:
            request.record.generates(call.request, stream=bool(call.stream_encoder))
        served = self._answering.simulator.submit(disturbed(call.request, request.fault), response, request.record)
        response.start(served, request.record)
        if response.refusal is not None:
            self._end(name)
            raise response.refusal
        if not response.ended:
            served.addCallback(request.part_with_record())

    def _keep(self, stored: StoredResponse) -> None:
        self._end(stored.id)
        self._store.keep(stored)

    def _end(self, name: str) -> None:
        del self._running[name]
        self._store.end(name)

    @app.route("/v1/responses/<response_id>", methods=["GET"])
    @described(
        "Generation",
        Response(ResponseObject),
        Response(ResponseEvent, EVENTS),
        query=Retrieval,
        errors=(MalformedRequest, InvalidResponseUse, UnknownResponse),
    )
    async def retrieve(self, request: Request, response_id: str) -> None:
        """Answer with a response, or with the events of one that is or was made in the background."""
        streamed, first = self._dialect().parse_retrieval(request.arguments)
        running = self._running.get(response_id)
        response = running or self._store.find(response_id)
        if not streamed:
            request.answer(200, response.body)
            return
        if response.events is None:
            raise InvalidResponseUse(
                "Only responses that are made with `background` and `stream` can be streamed.", "stream"
            )
        await self._send(request, response.events, first, running)

    @app.route("/v1/responses/<response_id>/cancel", methods=["POST"])
    @described("Generation", Response(ResponseObject), errors=(InvalidResponseUse, UnknownResponse))
    def cancel(self, request: Request, response_id: str) -> None:
        """Make an end of a response that is made in the background."""
        response = self._running.get(response_id)
        if response is None:
            self._store.find(response_id)
            raise InvalidResponseUse("Cannot cancel a synchronous response.", "response_id")
        request.answer(200, response.cancel())

    async def _send(
        self, request: Request, events: Sequence[bytes], first: int, response: BackgroundResponse | None
    ) -> None:
        """Send events, those that have been and those that are to come.

        :param first: the number of the first that is wanted.
        :param response: what makes more of them, if it is not at its end.
        """
        request.setHeader(b"Content-Type", CONTENT_TYPE)
        request.write(b"")
        position = first
        while True:
            while position < len(events):
                some = events[position : position + _TURN_EVENTS]
                position += len(some)
                await request.room()
                request.write(b"".join(some))
                if position < len(events):
                    await deferLater(self._clock, 0)
            if response is None or response.ended:
                return
            await response.progress()
