# -*- test-case-name: tests.web.test_inference -*-
"""The routes that generate: a dialect reads the body, the simulator serves it, a sink writes the answer."""

from collections.abc import Mapping
from typing import ClassVar

from attrs import define
from klein import Klein
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from vllmsim.api.body import Head
from vllmsim.api.dialect import Dialect
from vllmsim.api.errorbody import INTERNAL
from vllmsim.errors import InferenceError
from vllmsim.interfaces import ISimulator
from vllmsim.web.failing import answer_errors
from vllmsim.web.site import Request
from vllmsim.web.streaming import Delivery, EventStream, WholeBody


@define(slots=False, eq=False)
class InferenceRoutes:
    """Answers inference requests.

    :param signature: headers that name this server, sent with every answer.
    """

    app: ClassVar[Klein] = Klein()
    _log: ClassVar[Logger] = Logger()

    _simulator: ISimulator
    _chat: Dialect
    _completions: Dialect
    _signature: Mapping[str, str]

    @app.route("/v1/chat/completions", methods=["POST"])
    async def chat(self, request: Request) -> None:
        """Answer a chat completion request."""
        await self._answer(self._chat, request)

    @app.route("/v1/completions", methods=["POST"])
    async def completions(self, request: Request) -> None:
        """Answer a completion request."""
        await self._answer(self._completions, request)

    async def _answer(self, dialect: Dialect, request: Request) -> None:
        for name, value in self._signature.items():
            request.setHeader(name, value)
        call = dialect.parse(request.content.read(), head_of(request))
        delivery: EventStream | WholeBody
        if call.stream_encoder is not None:
            delivery = EventStream(request, call.stream_encoder())
        else:
            delivery = WholeBody(request, call.whole_encoder())
        try:
            await self._simulator.submit(call.request, delivery)
        except InferenceError as error:
            _tell(delivery, error)
        except CancelledError:
            raise
        except Exception:  # noqa: BLE001 - a stream that has begun can only be told
            self._log.failure("While answering {uri}", uri=request.uri)
            _tell(delivery, INTERNAL)
        else:
            delivery.close()


def _tell(delivery: Delivery, error: InferenceError) -> None:
    """Answer with an error, as an event if the status line is out."""
    if not delivery.begun:
        raise error
    delivery.fail(error)


def head_of(request: Request) -> Head:
    """Collect what dialects need of a request's head."""

    def text(name: bytes) -> str | None:
        value = request.getHeader(name)
        return None if value is None else value.decode("latin-1")

    return Head(text(b"content-type"), text(b"x-request-id"))


answer_errors(InferenceRoutes.app)
